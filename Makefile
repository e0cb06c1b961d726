# Every target works on a bare Debian 12 or 13 with Python 3, git and make, as root.
#
#   make setup        what the other targets need: system packages, .venv with the locked packages
#   make demo         bake and run examples/hello, then examples/kafka
#   make test         setup, lint, every test, the documentation's examples
#   make lint         ruff, mypy, import contracts, shellcheck
#   make test-pure    the tests that need no root, no network and no machines
#   make test-lowest  those again, and more, with the oldest libraries that pyproject.toml allows
#   make coverage     which part of the code the tests without machines run
#   make test-mutants  change the code here and there, and say which changes no test notices
#   make lock         the lock files, after a change of the dependencies
#   make bench        measure, and write bench/RESULTS.md

# Empty: python3.11 where there is one (Debian 12), else python3 (3.13 in Debian 13).
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PYTEST ?=
# Processes that run tests; a file's tests stay together, the longest come first (tests/conftest.py). Tests of machines
# wait for half of their time, so there are twice as many processes as the two processors that they are made for:
# `make test PROCESSES=8` for four.
PARALLEL = -n $(1) --no-loadscope-reorder
PROCESSES ?= 4

# Tests run thousands of commands, and each would compile the program's modules again: half of its time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup host test-host lint test lint-and-lowest test-all test-pure test-lowest test-mutants coverage lock docs demo bench clean

help:
	@sed -n 's/^#   //p' Makefile

setup: host $(VENV)/.installed

# Asks dpkg each time (a few milliseconds), so a package that was removed comes back.
host:
	@sh scripts/setup-host.sh

# What tests need besides: a browser, to look at the reports in, chattr, and a compiler.
test-host:
	@sh scripts/setup-host.sh --tests

# An environment whose Python is gone, as after an upgrade of Debian, is recreated.
stale = $(if $(wildcard $(1)/.packages),$(shell $(1)/bin/python -c '' 2>/dev/null || rm -f $(1)/.packages))
$(call stale,$(VENV))$(call stale,$(LOWEST))

$(VENV)/.packages: requirements.lock scripts/setup-venv.sh
	@sh scripts/setup-venv.sh $(VENV) '$(PYTHON)' $<
	@touch $@

$(LOWEST)/.packages: requirements-lowest.lock scripts/setup-venv.sh
	@sh scripts/setup-venv.sh $(LOWEST) '$(PYTHON)' $<
	@touch $@

# The project itself; then all that pyproject.toml asks for has to be there.
%/.installed: %/.packages pyproject.toml
	@$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@found=$$($*/bin/python -m pip check --disable-pip-version-check) || { echo "$$found" >&2; exit 1; }
	@touch $@

# Python 3.11 is the oldest that is supported; the markers in the lock are for all newer ones. What is locked
# stays as it is where it can: `make lock LOCK=--upgrade` takes the newest of all.
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --extra dev --universal --python-version 3.11 \
  --no-header --no-emit-index-url

# Google's clients want a protobuf newer than the oldest that we allow, so they are not in the lock of the oldest libraries.
lock: $(VENV)/.packages
	$(COMPILE) $(LOCK) --extra emulator --extra google --group clients -o requirements.lock pyproject.toml
	$(COMPILE) $(LOCK) --resolution lowest-direct -o requirements-lowest.lock pyproject.toml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	sh scripts/lint-shell.sh $(BIN)/shellcheck

# What only computes fills the time in which tests of machines wait, and gives way to them.
test: host
	@$(MAKE) --no-print-directory --jobs=2 setup test-host
	@$(MAKE) --no-print-directory --jobs=2 lint-and-lowest test-all

# Said at the end, so that it does not come in between what the tests say.
lint-and-lowest:
	@mkdir -p build
	@nice -n 5 $(MAKE) --no-print-directory lint test-lowest >build/lint-and-lowest.log 2>&1; code=$$?; \
	  cat build/lint-and-lowest.log; exit $$code

# Python compiles the tests of a new checkout once, not in each process.
test-all: $(VENV)/.installed
	@[ -n "$(wildcard tests/__pycache__/*-pytest-*)" ] || $(BIN)/python -m pytest --collect-only -q >/dev/null || true
	$(BIN)/python -m pytest $(call PARALLEL,$(PROCESSES)) $(PYTEST)

# No root, no network, no machines: a few seconds.
test-pure: $(VENV)/.installed
	$(BIN)/python -m pytest $(call PARALLEL,2) -m pure $(PYTEST)

# The lower bounds of pyproject.toml are true: mypy sees what a library lacks where no test looks, and the tests are those
# of the modules that call libraries. Terraform, gRPC and the metadata server have tests that run them. Kafka's has only
# machine tests, so its bound is the version that those have. Google's clients are not there, so neither is what needs them.
CALLING = cli compose config image local machinefile provider terraform ui rollout/test_report.py rollout/test_history.py
RUNNING = local/test_metadata_http.py terraform/test_runner.py provider/test_protocol.py provider/test_standalone.py
test-lowest: host $(LOWEST)/.installed
	$(LOWEST)/bin/mypy --cache-dir .mypy_cache/lowest src
	$(LOWEST)/bin/python -m pytest -q -m pure --ignore-glob='*/test_robust.py' $(addprefix tests/,$(CALLING))
	$(LOWEST)/bin/python -m pytest -q -m tool $(addprefix tests/,$(RUNNING))

# The figures are of these tests alone: tracing makes Python three times slower, and machine tests run it in processes of
# their own.
coverage: $(VENV)/.installed
	$(BIN)/python -m pytest $(call PARALLEL,2) -q -m 'not machine' --cov --cov-report=term $(PYTEST)

# Changes that no test notices, in the modules that differ from main: MUTANTS='--count 50 src/stoneware/launch/watch.py'
test-mutants: $(VENV)/.installed
	$(BIN)/python scripts/mutants.py $(MUTANTS)

# The generated pages.
docs: $(VENV)/.installed
	$(BIN)/python -m stoneware.cli.reference docs/cli.md
	$(BIN)/python -m stoneware.provider.reference docs/provider.md
	$(BIN)/python -m stoneware.compose.reference docs/machines-yaml.md
	$(BIN)/python -m stoneware.model.reference docs/machine.md
	$(BIN)/python -m stoneware.emulator.reference docs/emulator.md

demo: setup
	sh scripts/demo.sh

bench: setup
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) $(LOWEST) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
