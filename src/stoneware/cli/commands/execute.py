"""exec: a command in a running machine."""

from __future__ import annotations

import os
import sys

import click

from stoneware.cli import options
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.machine_names import find_machine, need_running
from stoneware.cli.parameters import Command, argument
from stoneware.errors import InputError
from stoneware.launch.environment import service_environment
from stoneware.launch.flags import parse_values
from stoneware.model.capability import Capability, Need, require
from stoneware.model.execution import Execution


# What follows the machine is the command's: `exec MACHINE ls -l`.
@click.command("exec", cls=Command, context_settings={"allow_interspersed_args": False})
@options.machine
@argument("command", metavar="COMMAND", many=True, help="What to run.")
@options.tty
@options.interactive
@options.env
@options.user
@options.workdir
@options.on_platform
def execute(
    machine: str,
    command: tuple[str, ...],
    *,
    tty: bool,
    interactive: bool,
    env: tuple[str, ...],
    user: str,
    workdir: str,
) -> None:
    """Run a command in a running machine and exit with its code.

    It runs as root unless -u says otherwise, with the environment of the machine's service.
    """
    need_terminal(tty=tty, interactive=interactive)
    store = open_store()
    platform = open_platform(store)
    require(platform, [Need(Capability.COMMANDS)])
    found = find_machine(platform, machine)
    need_running(found)
    # A builder has no image yet.
    stored = bool(found.image_id) and store.has_image(found.image_id)
    own = service_environment(store.manifest(found.image_id), found) if stored else {}
    how = Execution(user, {**own, **parse_values(env, os.environ)}, workdir, tty, interactive)
    raise click.exceptions.Exit(platform.execute(found.name, command, how))


def need_terminal(*, tty: bool, interactive: bool) -> None:
    """Raise InputError where `-it` is asked for and our input is no terminal."""
    if tty and interactive and not sys.stdin.isatty():
        raise InputError("the input is not a terminal", resolution="leave out -t: -i alone takes a pipe")
