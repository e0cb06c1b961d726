"""`stoneware terraform install`: an executable where Terraform finds it, and Terraform finding it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware import __version__
from stoneware.terraform.engine import LibraryEngine
from stoneware.terraform.runner import SOURCE

pytestmark = pytest.mark.tool

PROGRAM = Path(sys.executable).parent / "stoneware"
CONFIGURATION = """
resource "stoneware_network" "n" {
  name = "front"
}
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "CHECKPOINT_DISABLE": "1"}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def start(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "terraform", *words],
            env=environment | more,
            capture_output=True,
            text=True,
            check=True,
        )

    return start


def written(file: Path) -> tuple[int, int]:
    """Return what changes when a file is written or replaced; reading it changes its access time."""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns


def test_installed_once_and_the_same_again(run: Run, tmp_path: Path) -> None:
    first = run("install")
    mirror = tmp_path / "home" / ".terraform.d" / "plugins"
    [installed] = [path for path in mirror.rglob("*") if path.is_file()]
    assert installed.parent.parent.parent == mirror / SOURCE
    assert installed.parent.parent.name == __version__
    assert installed.name == f"terraform-provider-stoneware_v{__version__}"
    assert os.access(installed, os.X_OK)
    assert f'source  = "{SOURCE}"' in first.stdout
    assert first.stderr == f"installed {installed}\n"
    before = written(installed)
    again = json.loads(run("install", "--json").stdout)
    assert again == {
        "path": str(installed),
        "source": SOURCE,
        "version": __version__,
        "changed": False,
        "configuration": first.stdout.rstrip("\n"),
    }
    assert written(installed) == before
    installed.write_text("#!/bin/sh\nexit 1\n")  # of another version of Python, say
    assert json.loads(run("install", "--json").stdout)["changed"] is True


def test_settings_that_leave_the_mirror_out_are_told(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text("provider_installation {\n  direct {}\n}\n")
    done = run("install", TF_CLI_CONFIG_FILE=str(settings))
    assert f"{settings} has a provider_installation" in done.stderr
    other = run("install", "--directory", str(tmp_path / "other"))
    assert f"-plugin-dir={tmp_path / 'other'}" in other.stderr


def test_started_by_hand_it_says_what_it_is(run: Run, environment: dict[str, str]) -> None:
    path = json.loads(run("install", "--json").stdout)["path"]
    done = subprocess.run([path], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "stoneware terraform install" in done.stderr


def write(directory: Path, configuration: str) -> Path:
    directory.mkdir()
    (directory / "main.tf").write_text(configuration + CONFIGURATION)
    # Modules of Python that a provider started in this directory must not load in place of its own.
    (directory / "json.py").write_text("raise SystemExit('the wrong json')\n")
    return directory


def test_a_terraform_of_the_users_finds_it(
    run: Run, environment: dict[str, str], tmp_path: Path, binary: Path
) -> None:
    directory = write(tmp_path / "own", run("install").stdout)
    for words in (["init", "-no-color"], ["validate", "-json"]):
        done = subprocess.run(
            [binary, *words], cwd=directory, env=environment, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout)["valid"] is True


def test_the_embedded_terraform_finds_it_too(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    directory = write(tmp_path / "own", run("install").stdout)
    engine = LibraryEngine()
    try:
        for words in (["init", "-no-color"], ["validate", "-json"]):
            done = engine.run([f"-chdir={directory}", *words], environment, None)
            assert done.code == 0, done.stderr
    finally:
        engine.close()
    assert json.loads(done.stdout)["valid"] is True
