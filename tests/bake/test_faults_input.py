"""Wrong input and computers that lack something: the exit code, where, and what to type next."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stoneware.cli.program import run
from tests.bake.conftest import Context
from tests.bake.faults import next_to_type, tidy

pytestmark = pytest.mark.machine

CASES: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "cases/errors.toml").read_text())


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_told(
    context: Context, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command runs in this process: most cases take less time than the start of another."""
    case = CASES[name]
    if "machinefile" in case:
        (context.path / "Machinefile").write_text(case["machinefile"])  # as it is: the line matters
    context.write(case.get("files", {}))
    words = case.get("words", [])
    end = [] if words == ["nowhere"] else ["."]
    tag = [] if "-t" in words else ["-t", context.name]
    monkeypatch.setenv("STONEWARE_HOME", str(context.home))
    monkeypatch.chdir(context.path)
    assert run(["bake", *tag, *words, *end]) == case["code"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    for part in case["says"]:
        assert part.format(file="Machinefile") in err, f"{part} in\n{err}"
    assert next_to_type(err).startswith(case.get("next", ""))
    assert tidy(context.home)


def test_a_user_who_is_not_root_is_told(context: Context) -> None:
    context.write({"Machinefile": "FROM debian:12\n"})
    # In a user namespace that maps nobody the program is not root, though it may read its own files.
    _, err = context.run("bake", ".", code=3, before=("unshare", "--user"))
    assert "root" in err
    assert next_to_type(err).startswith("sudo stoneware")


def path_without(directory: Path, program: str) -> str:
    """Return a PATH with all programs of this one but `program`."""
    directory.mkdir()
    for place in reversed(os.environ["PATH"].split(":")):
        for found in Path(place).glob("*") if place else ():
            link = directory / found.name
            link.unlink(missing_ok=True)
            if found.name != program:
                link.symlink_to(found)
    return str(directory)


@pytest.mark.parametrize(
    ("program", "flags", "get"),
    [
        ("mmdebstrap", ["--pull"], "apt-get install -y mmdebstrap"),
        ("systemd-nspawn", [], "apt-get install -y systemd-container"),
    ],
)
def test_a_missing_program_is_told_with_how_to_get_it(
    context: Context, tmp_path: Path, program: str, flags: list[str], get: str
) -> None:
    context.write({"Machinefile": f"FROM debian:12\nENV RUN={context.stamp}\nRUN true\n"})
    env = {"PATH": path_without(tmp_path / "bin", program)}
    _, err = context.run("bake", *flags, "-t", context.name, ".", code=3, env=env)
    assert f"this computer lacks {program}" in err
    assert next_to_type(err) == get
    assert tidy(context.home)


def test_a_store_of_another_version_is_left_alone(context: Context, tmp_path: Path) -> None:
    context.write({"Machinefile": "FROM debian:12\n"})
    home = tmp_path / "home"
    home.mkdir()
    (home / "version").write_text("99\n")
    _, err = context.run("bake", ".", code=3, env={"STONEWARE_HOME": str(home)})
    assert "version '99'" in err
    assert "STONEWARE_HOME=" in next_to_type(err)
    assert [path.name for path in home.iterdir()] == ["version"]
