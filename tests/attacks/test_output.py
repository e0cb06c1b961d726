"""Output that is closed, full or not read, directories that are gone: one line, the right code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tool

STONEWARE = str(Path(sys.executable).parent / "stoneware")
COMMANDS = ("--version", "--help", "bake --help", "version", "init", "no-such-command", "ps")


def shell(script: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        env={**os.environ, "STONEWARE": STONEWARE, "STONEWARE_HOME": str(cwd / "file"), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("a home that is a file\n")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_cannot_be_written(place: Path, command: str) -> None:
    good = shell(f"$STONEWARE {command}", place)
    assert "Traceback" not in good.stderr
    for redirection in (">&-", "2>&-", ">&- 2>&-", "<&-", "2>/dev/full"):
        done = shell(
            f"rm -rf Machinefile .machineignore templates; $STONEWARE {command} {redirection}", place
        )
        assert "Traceback" not in done.stderr, redirection
        assert done.returncode == good.returncode, (redirection, done.stderr)
    full = shell(f"rm -rf Machinefile .machineignore templates; $STONEWARE {command} >/dev/full", place)
    assert "Traceback" not in full.stderr
    if good.stdout:
        assert full.returncode == 1
        assert full.stderr.splitlines() == ["error: the output cannot be written: No space left on device"]


@pytest.mark.parametrize("command", ["--help", "version", "ps"])
def test_nobody_reads(place: Path, command: str) -> None:
    for pipe in ("| head -c 0", "2>&1 | head -c 0"):
        done = shell(f"$STONEWARE {command} {pipe}", place)
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_completion_into_a_full_disk(place: Path) -> None:
    asked = "_STONEWARE_COMPLETE=bash_complete COMP_WORDS='stoneware ' COMP_CWORD=1"
    assert "bake" in shell(f"{asked} $STONEWARE", place).stdout
    done = shell(f"{asked} $STONEWARE >/dev/full", place)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["--version", "init", "config", "bake", "bake .", "up", "ps", "rollout status"]
)
def test_a_working_directory_that_is_gone(place: Path, command: str) -> None:
    done = shell(f"mkdir gone && cd gone && rmdir ../gone && $STONEWARE {command}", place)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"COLUMNS": "-3"},
        {"COLUMNS": "x", "LINES": "0"},
    ],
    ids=str,
)
def test_odd_terminals(place: Path, env: dict[str, str]) -> None:
    for command in ("--help", "bake --help", "no-such-command", "ps"):
        done = shell(f"$STONEWARE {command}", place, **env)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "home", ["file", "file/below", "dangling", "loop", "a\nb", "\x1b]0;x\x07", "a:b", "/proc/x", "/dev/null"]
)
def test_odd_homes(place: Path, home: str) -> None:
    (place / "dangling").symlink_to("nowhere/at/all")
    (place / "loop").symlink_to("loop")
    for command in ("ps", "images", "doctor"):
        done = shell(f"$STONEWARE {command}", place, STONEWARE_HOME=home)
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stderr + done.stdout
        assert done.returncode == 0 or "error: " in done.stderr or command == "doctor"


def test_no_home_of_the_user(place: Path) -> None:
    done = shell("unset HOME; $STONEWARE --help && $STONEWARE ps", place)
    assert "Traceback" not in done.stderr
