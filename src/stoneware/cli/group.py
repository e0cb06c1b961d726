"""The root command: it imports a command's module only when that command is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stoneware import __version__
from stoneware.cli import catalog
from stoneware.cli.parameters import Group
from stoneware.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "stoneware"


def load(entry: catalog.Entry) -> click.Command:
    """Import a command's module and return the command, ready to be called."""
    command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
    return command


def takes_platform(words: Sequence[str]) -> int:
    """Return how many of the words are the name of a command that takes --platform; 0: they name none."""
    entry = catalog.find(words[0])
    command = None if entry is None else load(entry)
    count = 1
    while isinstance(command, click.Group) and count < len(words) and words[count] in command.commands:
        command = command.commands[words[count]]
        count += 1
    if command is None or not any("--platform" in each.opts for each in command.params):
        return 0
    return count


class LazyGroup(Group):
    """A group over the catalog: its help and its completion need none of the commands' modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands' names in the order of the help."""
        return [entry.name for entry in catalog.COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by its name or alias, importing it now; None where there is none."""
        entry = catalog.find(cmd_name)
        return None if entry is None else load(entry)

    def has_command(self, name: str) -> bool:
        """Say whether there is a command of this name or alias."""
        return catalog.find(name) is not None

    def unknown_command(self, ctx: click.Context, words: Sequence[str]) -> Exception:  # noqa: ARG002
        """Return the error for words that begin with no command, with what to type instead."""
        from stoneware.cli.other_tools import suggestion  # for a mistake only

        return InputError(f"there is no command {words[0]!r}", resolution=suggestion(words))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section, from the catalog."""
        for title, entries in catalog.sections().items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Complete a command's name, from the catalog."""
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(entry.name, help=entry.summary)
            for entry in catalog.COMMANDS
            if entry.name.startswith(incomplete)
        ]


@click.group(PROGRAM, cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, prog_name=PROGRAM, message="%(prog)s %(version)s", help="Print the version."
)
def root() -> None:
    """A Docker workflow for virtual machines: bake an image, boot machines from it."""
