"""What a shell offers when TAB is pressed: commands, options, values, images, machines, files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.cli import complete, context
from stoneware.errors import HostError
from tests.cli.conftest import Cli
from tests.cli.fakes import FakePlatform

SHELLS = ("bash", "zsh", "fish")
SCRIPT = "import sys; from stoneware.cli.main import main; main()"


@pytest.fixture
def press_tab(cli: Cli, platform: FakePlatform, hello: str, monkeypatch: pytest.MonkeyPatch) -> PressTab:
    """Offer one image, `hello:latest`, and two machines."""
    platform.add("h1")
    platform.add("other")
    platform.create_volume("disk", {})
    platform.snapshot_volume("disk", "old")
    return PressTab(cli, monkeypatch)


class PressTab:
    """Presses TAB behind a line, as the completion script of a shell does."""

    def __init__(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cli = cli
        self.monkeypatch = monkeypatch

    def __call__(self, line: str, shell: str = "bash") -> str:
        words = line.split(" ")
        word = words[-1] if shell == "fish" else str(len(words) - 1)
        with self.monkeypatch.context() as env:
            env.setenv("_STONEWARE_COMPLETE", f"{shell}_complete")
            env.setenv("COMP_WORDS", line)
            env.setenv("COMP_CWORD", word)
            result = self.cli()
        assert (result.code, result.err) == (0, "")
        return result.out


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("stoneware ren", ["plain,render"]),
        ("stoneware ro", ["plain,rollout", "plain,rollback"]),
        ("stoneware volume r", ["plain,rm", "plain,resize", "plain,restore"]),
        ("stoneware volume rm d", ["plain,disk"]),
        ("stoneware volume inspect disk d", ["plain,disk"]),
        ("stoneware volume snapshot r", ["plain,rm"]),
        ("stoneware volume snapshot d", ["plain,disk"]),
        ("stoneware volume snapshot disk --n", ["plain,--name"]),
        ("stoneware volume restore d", ["plain,disk"]),
        ("stoneware volume restore disk o", ["plain,old"]),
        ("stoneware rollout -p shop re", ["plain,resume", "plain,report"]),
        ("stoneware render --temp", ["plain,--template"]),
        ("stoneware build --skip", ["plain,--skip-check"]),
        ("stoneware volume create --s", ["plain,--size"]),
        ("stoneware up --no-", ["plain,--no-build", "plain,--no-wait"]),
        ("stoneware bake --progress p", ["plain,plain"]),
        ("stoneware bake --on-failure ", ["plain,stop", "plain,shell"]),
        ("stoneware run --rm hel", ["plain,hello:latest"]),
        ("stoneware exec -u root h", ["plain,h1"]),
        ("stoneware stop h1 o", ["plain,other"]),
        ("stoneware logs ", ["plain,h1", "plain,other"]),
        ("stoneware push hello:latest ", ["plain,google"]),
        ("stoneware bake ./exa", ["file,./exa"]),
        ("stoneware bake --file Ma", ["file,Ma"]),
        ("stoneware cp h1:/etc/host", ["file,h1:/etc/host"]),
        ("stoneware exec h1 ls /e", ["file,/e"]),
        ("stoneware xyzzy --", []),
    ],
)
def test_what_is_offered(press_tab: PressTab, line: str, offered: list[str]) -> None:
    assert press_tab(line).split() == offered


def test_zsh_and_fish_show_what_it_is(press_tab: PressTab) -> None:
    told = "Show the final configuration files without booting anything."
    assert press_tab("stoneware ren", "zsh").splitlines() == ["plain", "render", told]
    assert press_tab("stoneware ren", "fish").splitlines() == [f"plain,render\t{told}"]
    assert press_tab("stoneware rm h", "zsh").splitlines() == ["plain", "h1", "_"]
    assert press_tab("stoneware init ex", "fish").splitlines() == ["file,ex"]


def test_images_and_machines_are_offered(press_tab: PressTab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert press_tab.cli("version").code == 0  # the fakes are in place
    assert complete.machines("h") == ["h1"]
    assert complete.images("hel") == ["hello:latest"]

    def fail(**_: object) -> None:
        raise HostError("no root")

    monkeypatch.setattr(context, "open_store", fail)
    assert complete.images("") == complete.machines("") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(cli: Cli, shell: str) -> None:
    result = cli("completion", shell)
    assert result.code == 0
    assert f"_STONEWARE_COMPLETE={shell}_complete" in result.out


@pytest.mark.tool
def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    program = tmp_path / "stoneware"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(SCRIPT)} "$@"\n')
    program.chmod(0o755)
    typed = """
    eval "$(stoneware completion bash)"
    COMP_WORDS=(stoneware volume p) COMP_CWORD=2
    _stoneware_completion stoneware
    echo "${COMPREPLY[@]}"
    """
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "STONEWARE_HOME": "/nowhere"}
    done = subprocess.run(
        ["bash", "--norc", "-c", typed], capture_output=True, text=True, check=False, env=env
    )
    assert (done.stdout, done.stderr) == ("prune\n", "")
