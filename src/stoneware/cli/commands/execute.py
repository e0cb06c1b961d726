"""exec: a command in a running machine."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from stoneware.cli import options
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.machine_names import find_machine, need_running
from stoneware.errors import InputError
from stoneware.launch.environment import service_environment
from stoneware.launch.flags import parse_values

Tty = Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal.")]
Interactive = Annotated[bool, typer.Option("--interactive", "-i", help="Give it our standard input.")]
User = Annotated[str, typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Run as this user.")]
Workdir = Annotated[str, typer.Option("--workdir", "-w", metavar="DIR", help="Run in this directory.")]


def execute(
    machine: options.Machine,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run.")],
    *,
    tty: Tty = False,
    interactive: Interactive = False,
    env: options.Environment = None,
    user: User = "",
    workdir: Workdir = "",
) -> None:
    """Run a command in a running machine and exit with its code.

    It runs as root unless -u says otherwise, with the environment of the machine's service.
    """
    need_terminal(tty=tty, interactive=interactive)
    store = open_store()
    platform = open_platform(store)
    found = find_machine(platform, machine)
    need_running(found)
    # A builder has no image yet.
    stored = bool(found.image_id) and store.has_image(found.image_id)
    own = service_environment(store.manifest(found.image_id), found) if stored else {}
    code = platform.execute(
        found.name,
        command,
        tty=tty,
        interactive=interactive,
        env={**own, **parse_values(env or (), os.environ)},
        user=user,
        workdir=workdir,
    )
    raise typer.Exit(code)


def need_terminal(*, tty: bool, interactive: bool) -> None:
    """Raise InputError where `-it` is asked for and our input is no terminal."""
    if tty and interactive and not sys.stdin.isatty():
        raise InputError("the input is not a terminal", resolution="leave out -t: -i alone takes a pipe")
