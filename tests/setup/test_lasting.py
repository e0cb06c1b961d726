"""Set-up on a day when the index has moved on, with the pip that each Debian brings."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.setup.index import ROOT, Index, Package, of_the_lock

pytestmark = pytest.mark.tool

# The pip of Debian 12 and of Debian 13, as the index has them.
PIPS = {
    "23.0.1": "236bcb61156d76c4b8a05821b988c7b8c35bf0da28a4b614e8d6ab5212c25c6f",
    "25.1.1": "2913a38a2abf4ea6b64ab507bd9e967f3b53dc1ede74b01b0931e1ce548751af",
}
# The Python under this environment's, with the pip that it ships.
BASE = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
_SCRIPT = ROOT / "scripts" / "setup-venv.sh"
# A Python whose `-m venv` lays out another pip than the one it ships: its files, since installing takes long.
_PYTHON = """#!/bin/sh
set -eu
case "$*" in
-m\\ venv\\ *)
    {python} "$@" --without-pip
    for environment; do :; done
    {python} -m zipfile -e {pip} "$environment"/lib/python3.*/site-packages
    ;;
*) exec {python} "$@" ;;
esac
"""


@pytest.fixture(params=sorted(PIPS))
def python(request: pytest.FixtureRequest, tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    """A Python that brings an old pip."""
    version = request.param
    if version == "23.0.1" and sys.version_info >= (3, 12):
        pytest.skip("pip 23.0.1 is Python 3.11's in Debian 12, and runs with none after it")
    assert pytestconfig.cache is not None
    wheel = _pip(version, pytestconfig.cache.mkdir("pips"))
    made = tmp_path / "python"
    made.write_text(_PYTHON.format(python=shlex.quote(str(BASE)), pip=shlex.quote(str(wheel))))
    made.chmod(0o755)
    return made


def _pip(version: str, cache: Path) -> Path:
    """Return pip's wheel, from the index the first time."""
    wheel = cache / f"pip-{version}-py3-none-any.whl"
    if not wheel.exists():
        wanted = cache / f"pip-{version}.txt"
        wanted.write_text(f"pip=={version} --hash=sha256:{PIPS[version]}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        done = subprocess.run(
            [*command, "--dest", str(cache), "-r", str(wanted)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"pip {version} has to come from the index:\n{done.stderr}"
    return wheel


SetUp = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


@pytest.fixture
def set_up(tmp_path: Path, index: Index) -> SetUp:
    """Run a set-up script with the index, in a directory where its lock is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_INDEX_URL": index.url, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}

    def run(python: Path, script: Path = _SCRIPT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(script), "venv", str(python)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def installed(venv: Path) -> dict[str, str]:
    listing = [
        str(venv / "bin/python"),
        "-m",
        "pip",
        "list",
        "--format",
        "json",
        "--disable-pip-version-check",
    ]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    return {item["name"]: item["version"] for item in json.loads(done.stdout)}


def test_exactly_the_lock_is_installed(python: Path, index: Index, set_up: SetUp, tmp_path: Path) -> None:
    packages = of_the_lock()
    assert any("[" in wanted.split(";")[0] for package in packages for wanted in package.requires)
    index.lock(packages, tmp_path / "requirements.lock")
    done = set_up(python)
    assert done.returncode == 0, done.stderr
    found = installed(tmp_path / "venv")
    assert found.pop("pip") in python.read_text()  # it was not upgraded
    assert found == {package.name: package.version for package in packages}


_COVERED = [
    Package("covers", "1.0", ["measures[toml]>=1"]),
    Package("measures", "1.0", ["reads; extra == 'toml'"], ["toml"]),
    Package("reads", "1.0"),
]


@pytest.mark.parametrize("python", ["23.0.1"], indirect=True)
def test_a_script_that_resolves_fails_on_that_day(
    python: Path, index: Index, set_up: SetUp, tmp_path: Path
) -> None:
    # If this passes, the test above proves nothing.
    resolving = tmp_path / "setup-venv.sh"
    resolving.write_text(_SCRIPT.read_text().replace(" --no-deps", ""))
    assert resolving.read_text() != _SCRIPT.read_text()
    index.lock(_COVERED, tmp_path / "requirements.lock")
    done = set_up(python, resolving)
    assert done.returncode != 0
    assert "must have their versions pinned" in done.stderr
    assert "measures[toml]" in done.stderr


@pytest.mark.parametrize("python", ["25.1.1"], indirect=True)
def test_a_lock_that_is_not_whole_is_refused(
    python: Path, index: Index, set_up: SetUp, tmp_path: Path
) -> None:
    index.lock(_COVERED[:1], tmp_path / "requirements.lock")
    done = set_up(python)
    assert done.returncode == 1
    assert (
        "requirements.lock is not whole:\ncovers 1.0 requires measures, which is not installed" in done.stderr
    )


@pytest.mark.parametrize("python", ["25.1.1"], indirect=True)
def test_what_has_left_the_lock_leaves_the_environment(
    python: Path, index: Index, set_up: SetUp, tmp_path: Path
) -> None:
    minor = f"python3.{sys.version_info.minor}"
    left = tmp_path / "venv/lib" / minor / "site-packages/left-1.0.dist-info/METADATA"
    left.parent.mkdir(parents=True)
    left.write_text("Metadata-Version: 2.1\nName: left\nVersion: 1.0\nRequires-Dist: reads<2\n")
    index.lock([Package("reads", "2.0")], tmp_path / "requirements.lock")
    done = set_up(python)
    assert done.returncode == 0, done.stderr
    assert "left" not in installed(tmp_path / "venv")


def test_a_python_that_is_not_there(set_up: SetUp, tmp_path: Path) -> None:
    done = set_up(tmp_path / "python9")
    assert done.returncode == 3
    assert "is not there or older than Python 3.11; name another one: make setup PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()
