from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stoneware.bake.runscript import mount_lines, run_script
from stoneware.machinefile.recipe import Mount, RunStep

HOSTILE = [
    "$(touch pwned)",
    "`id`",
    "it's",
    'a "b"',
    "back\\slash",
    "line\nbreak",
    "ümläut ☃",
    "-e",
    "a=b",
    "*",
]


def step(argv: tuple[str, ...], **fields: object) -> RunStep:
    return RunStep(index=1, stage="0", line=1, text="RUN", argv=argv, **fields)  # type: ignore[arg-type]


def execute(script: str, cwd: Path, home: str = "") -> bytes:
    return subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=cwd,
        env={"HOME": home} if home else {},
        capture_output=True,
        check=True,
    ).stdout


@pytest.mark.tool
@pytest.mark.parametrize("value", HOSTILE)
def test_values_and_arguments_arrive_as_they_are(value: str, tmp_path: Path) -> None:
    script = run_script(
        step(
            ("/bin/sh", "-c", 'printf "%s\\0%s" "$V" "$1"', "x", value),
            env=(("V", value),),
            workdir=str(tmp_path),
        )
    )
    assert execute(script, tmp_path).decode().split("\0") == [value, value]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.tool
def test_the_environment_holds_what_the_step_says_and_nothing_else(tmp_path: Path) -> None:
    script = run_script(step(("/usr/bin/env",), env=(("A", "1"),), unkeyed_env=(("http_proxy", "p"),)))
    names = {line.split("=")[0] for line in execute(script, tmp_path, home="/root").decode().splitlines()}
    assert names == {"A", "PATH", "http_proxy", "HOME"}


@pytest.mark.tool
def test_the_images_home_wins(tmp_path: Path) -> None:
    script = run_script(step(("/bin/sh", "-c", "echo $HOME"), env=(("HOME", "/srv"),)))
    assert execute(script, tmp_path, home="/root") == b"/srv\n"


@pytest.mark.tool
def test_a_missing_working_directory_fails_the_step(tmp_path: Path) -> None:
    script = run_script(step(("/bin/true",), workdir=str(tmp_path / "none")))
    assert subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False).returncode == 1


def test_mounts_are_lines_of_nine_fields() -> None:
    mounts = (
        Mount(type="cache", target="/root/.m2"),
        Mount(type="tmpfs", target="/t", size=1024),
        Mount(type="secret", target="/run/secrets/x", mode="0400", uid=3, read_only=True, env="TOKEN"),
    )
    lines = mount_lines(mounts, ("/run/stoneware/cache/0", "", "secret-x")).splitlines()
    assert [line.split("\t") for line in lines] == [
        ["cache", "/root/.m2", "/run/stoneware/cache/0", "rw", "", "0", "0", "", ""],
        ["tmpfs", "/t", "", "rw", "", "0", "0", "", "1024"],
        ["secret", "/run/secrets/x", "secret-x", "ro", "0400", "3", "0", "TOKEN", ""],
    ]
