"""version and completion."""

from __future__ import annotations

import json

import click

from stoneware import __version__
from stoneware.cli import options
from stoneware.cli.parameters import Command, argument
from stoneware.errors import InputError

_SHELLS = ("bash", "zsh", "fish")


@click.command("version", cls=Command)
@options.json_output
def version(json_output: bool) -> None:
    """Print the version."""
    if json_output:
        click.echo(json.dumps({"version": __version__}))
    else:
        click.echo(f"stoneware {__version__}")


@click.command("completion", cls=Command)
@argument("shell", metavar="bash|zsh|fish", help="The shell to print it for.")
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: stoneware completion bash > /etc/bash_completion.d/stoneware
    """
    if shell not in _SHELLS:
        raise InputError(
            f"there is no completion for {shell!r}", resolution=f"stoneware completion {'|'.join(_SHELLS)}"
        )
    from click.shell_completion import shell_complete

    from stoneware.cli.group import PROGRAM, root
    from stoneware.cli.program import COMPLETE_VARIABLE

    shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, f"{shell}_source")
