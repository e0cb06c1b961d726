"""The root command: it imports a command's module only when that command is called."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import typer
import typer.main

from stoneware.cli import catalog
from stoneware.cli.coerce import QuickCommand, QuickGroup
from stoneware.errors import InputError

HELP_NAMES = ["-h", "--help"]


def load(entry: catalog.Entry) -> Any:
    """Import a command's module and return the command, ready to be called."""
    target = getattr(importlib.import_module(entry.module), entry.attribute)
    app = target if isinstance(target, typer.Typer) else _single(entry, target)
    return typer.main.get_command(app)


def _single(entry: catalog.Entry, function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = {"help_option_names": HELP_NAMES, **entry.settings}
    app.command(entry.name, cls=QuickCommand, help=function.__doc__, context_settings=settings)(function)
    return app


class LazyGroup(QuickGroup):
    """A group over the catalog: its help and its completion need none of the commands' modules."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the commands' names in the order of the help."""
        return [entry.name for entry in catalog.COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a command by its name or alias, importing it now; None where there is none."""
        entry = catalog.find(cmd_name)
        return None if entry is None else load(entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name. Raises InputError with the nearest names."""
        if args and not args[0].startswith("-") and catalog.find(args[0]) is None:
            raise _unknown(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the commands by section, from the catalog."""
        for title, entries in catalog.sections().items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ARG002
        """Complete a command's name, from the catalog."""
        item = importlib.import_module("typer._click.shell_completion").CompletionItem
        return [
            item(entry.name, help=entry.summary)
            for entry in catalog.COMMANDS
            if entry.name.startswith(incomplete)
        ]


def _unknown(name: str) -> InputError:
    names = [word for entry in catalog.COMMANDS for word in (entry.name, *entry.aliases)]
    near = [word for word in names if word.startswith(name)] or difflib.get_close_matches(name, names, n=1)
    return InputError(
        f"there is no command {name!r}",
        resolution=f"stoneware {near[0]} --help" if near else "stoneware --help    # lists the commands",
    )
