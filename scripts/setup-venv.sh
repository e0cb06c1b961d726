#!/bin/sh
# Make a virtual environment with exactly the packages of requirements.lock: setup-venv.sh DIR [PYTHON]
set -eu

venv=$1
python=${2:-python3.11}
command -v "$python" >/dev/null || python=python3

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    printf 'setup: %s is older than Python 3.11; name another one: make setup PYTHON=/path/to/python3\n' \
        "$python" >&2
    exit 3
fi

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
printf 'setup: installing the locked Python packages into %s\n' "$venv" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
"$venv/bin/python" -m pip check --disable-pip-version-check >&2
