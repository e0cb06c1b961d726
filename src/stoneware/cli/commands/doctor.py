"""doctor: what this computer has and lacks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from stoneware.cli import options
from stoneware.cli.context import backend, choose
from stoneware.cli.output import print_json, print_line, print_table
from stoneware.cli.parameters import Command

if TYPE_CHECKING:
    from stoneware.platforms.upkeep import Finding


@click.command("doctor", cls=Command)
@options.platform
@options.json_output
def doctor(*, platform: str | None, json_output: bool) -> None:
    """Show what this computer lacks and how to install that.

    With --platform google it is the project that is looked at: credentials, APIs, the bucket. The exit code
    is 3 where something is missing that is not optional.
    """
    choose(platform)
    found = backend().requirements()
    missing = [finding for finding in found if finding.problem]
    if json_output:
        print_json([dataclasses.asdict(finding) | {"ok": not finding.problem} for finding in found])
    else:
        rows = [
            [
                _state(entry),
                entry.name,
                entry.problem or entry.version or "-",
                entry.purpose,
            ]
            for entry in found
        ]
        print_table(("STATE", "WHAT", "FOUND", "FOR"), rows)
        for entry in missing:
            print_line(f"→ {entry.get}    # {entry.name}")
    if any(not entry.optional for entry in missing):
        raise click.exceptions.Exit(3)


def _state(entry: Finding) -> str:
    missing = "optional" if entry.optional else "MISSING"
    return missing if entry.problem else "ok"
