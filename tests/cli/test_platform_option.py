"""--platform of commands that do not look at it themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stoneware.cli import context
from stoneware.cli.catalog import COMMANDS, find
from stoneware.cli.group import load
from stoneware.cli.options import on_platform
from stoneware.cli.parameters import Command
from stoneware.errors import InputError
from tests.cli.conftest import Cli

pytestmark = pytest.mark.pure


@click.command("look", cls=Command)
@on_platform
def look() -> None:
    """Look."""
    click.echo(context._choice()[0])


def test_what_is_named_is_the_platform_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STONEWARE_PLATFORM", "local")
    runner = CliRunner()
    assert runner.invoke(look, ["--platform", "google"]).output == "google\n"
    assert runner.invoke(look, []).output == "local\n"


def all_of(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for each, below in command.commands.items():
            yield from all_of(below, f"{name} {each}")
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name, command


def test_commands_have_it_but_those_that_are_of_this_computer() -> None:
    everything = [found for entry in COMMANDS for found in all_of(load(entry), entry.name)]
    without = {name for name, it in everything if not any("--platform" in each.opts for each in it.params)}
    # `push` names the other platform, `emulate` has machines of this computer behind a cloud's API.
    assert without == {"init", "push", "terraform install", "emulate google", "completion", "version"}


@pytest.mark.parametrize(
    "line",
    [
        *(
            "run x",
            "run -d x",
            "exec x ls",
            "cp x:/a b",
            "update x -e A=b",
            "wait x",
            "rm x",
            "stop x",
            "render x",
        ),
        *("volume ls", "volume create v", "volume rm v", "volume inspect v", "volume prune -f"),
        *("volume resize v 10g", "volume convert v", "volume snapshot create v", "volume snapshot ls"),
        *("volume snapshot rm v s", "volume restore v s", "images", "ps", "logs x", "system df"),
    ],
)
@pytest.mark.parametrize("asked", ["option", "variable"])
def test_none_works_on_this_computer_where_another_platform_is_named(
    line: str, asked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STONEWARE_HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith(("STONEWARE_GOOGLE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STONEWARE_PLATFORM", "google" if asked == "variable" else "local")
    opened: list[object] = []
    monkeypatch.setattr("stoneware.platforms.local.backend.opened", opened.append)
    name, *words = line.split()
    entry = find(name)
    assert entry is not None
    command = load(entry)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    where = ["--platform", "google"] if asked == "option" else []
    result = CliRunner().invoke(command, [*where, *words])
    # No project is named: it came as far as the platform, and no further.
    assert isinstance(result.exception, InputError)
    assert result.exception.brief == "the platform google needs a project"
    assert opened == []


def test_what_to_type_next_is_of_the_same_platform(cli: Cli) -> None:
    told = cli("volume", "rm", "--platform", "google", "data")
    assert "there is no volume 'data'\n→ stoneware volume ls --platform google\n" in told.err
    # The option holds for one command.
    assert cli("volume", "rm", "data").err.endswith("→ stoneware volume ls\n")
    assert "→ stoneware ps --platform google -a\n" in cli("rm", "k1", "--platform", "google").err
