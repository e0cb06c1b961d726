# Every target works on a bare Debian 12 with Python 3.11, git and make, as root.
#
#   make setup   what the other targets need: system packages, .venv with the locked packages
#   make demo    bake and run examples/hello, then examples/kafka
#   make test    setup, lint, every test, the documentation's examples
#   make lint    ruff, mypy, import contracts, shellcheck
#   make bench   measure, and write bench/RESULTS.md

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTEST ?=

.DEFAULT_GOAL := help
.PHONY: help setup host test-host lint test test-pure docs demo bench clean

help:
	@sed -n 's/^#   //p' Makefile

setup: host $(VENV)/.installed

# Asks dpkg each time (a few milliseconds), so a package that was removed comes back.
host:
	@sh scripts/setup-host.sh

# What tests need besides: a browser, to look at the reports in, and a compiler.
test-host:
	@sh scripts/setup-host.sh --tests

$(VENV)/.packages: requirements.lock scripts/setup-venv.sh
	@sh scripts/setup-venv.sh $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.installed: $(VENV)/.packages pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	sh scripts/lint-shell.sh $(BIN)/shellcheck

test: setup test-host lint
	$(BIN)/python -m pytest --cov --cov-report=term $(PYTEST)

# No root, no network, no machines: a few seconds.
test-pure: $(VENV)/.installed
	$(BIN)/python -m pytest -m pure $(PYTEST)

# The generated pages.
docs: $(VENV)/.installed
	$(BIN)/python -m stoneware.cli.reference docs/cli.md
	$(BIN)/python -m stoneware.provider.reference docs/provider.md

demo: setup
	sh scripts/demo.sh

bench: setup
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
