"""--platform of commands that do not look at it themselves."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from stoneware.cli import context
from stoneware.cli.catalog import find
from stoneware.cli.group import load
from stoneware.cli.options import on_platform
from stoneware.cli.parameters import Command

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


@pytest.mark.parametrize(
    "name", ["up", "plan", "status", "drift", "down", "rollout", "rollback", "logs", "ps"]
)
def test_commands_for_clusters_have_it(name: str) -> None:
    entry = find(name)
    assert entry is not None
    command = load(entry)
    assert [it for it in command.params if "--platform" in it.opts]
