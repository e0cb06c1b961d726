#!/bin/sh
# Make a virtual environment with exactly the packages of a lock file, with whatever pip its Python brings.
#
#   setup-venv.sh DIR [PYTHON [LOCK]]
#
# PYTHON: python3.11 (Debian 12), or where there is none python3 (3.13 in Debian 13). LOCK: requirements.lock
set -eu

venv=$1
python=${2:-}
lock=${3:-requirements.lock}
if [ -z "$python" ]; then
    python=python3.11
    # A name can be on the PATH and run nothing, such as pyenv's of a version that is not chosen.
    "$python" -c '' 2>/dev/null || python=python3
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    printf 'setup: %s is not there or older than Python 3.11; name another one: make setup PYTHON=/path/to/python3\n' \
        "$python" >&2
    exit 3
fi

# From nothing each time: a package that has left the lock must not stay.
"$python" -m venv --clear "$venv"
printf 'setup: installing the packages of %s into %s\n' "$lock" "$venv" >&2
# The lock is whole, so nothing is resolved: pip up to 25 asks for the newest of what is wanted with an extra (as
# pytest-cov wants coverage[toml]) and finds it without a hash as soon as the index is newer than the lock.
by_pip() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$1"
}

# by_uv: the same by the uv of the lock, in a quarter of the time. It knows nothing of pip's settings, so where it
# cannot, pip can.
by_uv() {
    only=$venv/uv.lock
    awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' "$lock" >"$only"
    [ -s "$only" ] && by_pip "$only" || return 1
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-config --require-hashes --no-deps \
        --compile-bytecode -r "$lock" >"$venv/uv.log" 2>&1 || return 1
}
by_uv || by_pip "$lock"
# Before Python 3.12 a new environment has setuptools, which looks after distutils in every start of Python: a quarter of
# the time that an empty one takes. Nothing here needs it.
"$venv/bin/python" -m pip uninstall --quiet --disable-pip-version-check --yes setuptools 2>/dev/null || :
found=$("$venv/bin/python" -m pip check --disable-pip-version-check) || {
    printf 'setup: %s is not whole:\n%s\n' "$lock" "$found" >&2
    exit 1
}
