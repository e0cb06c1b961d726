"""version and completion."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from stoneware import __version__
from stoneware.cli import options
from stoneware.errors import InputError

_SHELLS = ("bash", "zsh", "fish")


def version(json_output: options.Json = False) -> None:
    """Print the version."""
    if json_output:
        typer.echo(json.dumps({"version": __version__}))
    else:
        typer.echo(f"stoneware {__version__}")


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell to print it for.")],
) -> None:
    """Print the completion script of a shell.

    For bash: stoneware completion bash > /etc/bash_completion.d/stoneware
    """
    if shell not in _SHELLS:
        raise InputError(
            f"there is no completion for {shell!r}", resolution=f"stoneware completion {'|'.join(_SHELLS)}"
        )
    from typer.completion import shell_complete

    from stoneware.cli.program import COMPLETE_VARIABLE, PROGRAM, command, prepare_completion

    prepare_completion()
    root = command()
    raise typer.Exit(shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, f"source_{shell}"))
