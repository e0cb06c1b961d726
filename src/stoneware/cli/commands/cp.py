"""cp: files between a machine and this computer."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from stoneware.cli import options
from stoneware.cli.context import open_platform
from stoneware.cli.machine_names import find_machine, need_running
from stoneware.cli.output import say
from stoneware.cli.parameters import Command, argument
from stoneware.errors import InputError
from stoneware.model.capability import Capability, Need, require
from stoneware.model.execution import Execution

_EXAMPLES = "stoneware cp MACHINE:/etc/hostname .    # or: stoneware cp FILE MACHINE:/tmp/"


@click.command("cp", cls=Command)
@argument("source", metavar="SOURCE", help="MACHINE:PATH, a path, or - (a tar).")
@argument("destination", metavar="DEST", help="A path, MACHINE:PATH, or - (a tar).")
@options.on_platform
def cp(source: str, destination: str) -> None:
    """Copy files between a machine and this computer, by Docker's rules for directories.

    `-` is a tar archive on standard input or output; the machine has to run for it, and what comes out is
    as the machine wrote it, unchecked. What is copied into a machine belongs to its root.

    Out of a machine come files, directories and links that stay inside what is copied, as yours, without
    setuid and setgid bits and extended attributes; devices, FIFOs and other links are left out and named.
    A file appears whole or not at all; an existing directory is merged file by file, links in it are not
    followed.
    """
    from_machine, from_path = split_place(source)
    to_machine, to_path = split_place(destination)
    if bool(from_machine) == bool(to_machine):
        raise InputError("one side is in a machine, the other is not", resolution=_EXAMPLES)
    platform = open_platform()
    require(platform, [Need(Capability.COMMANDS)])
    machine = find_machine(platform, from_machine or to_machine)
    if "-" in (from_path, to_path):
        need_running(machine)
        if from_machine and sys.stdout.isatty():
            raise InputError("an archive is not for a terminal", resolution=f"stoneware cp {source} - >FILE")
        if from_machine:
            # As with docker cp, the archive begins with the last name of the path.
            argv = ["tar", "-C", str(Path(from_path).parent), "-cf", "-", "--", Path(from_path).name or "."]
        else:
            argv = ["tar", "-C", to_path, "-xf", "-"]
        raise click.exceptions.Exit(
            platform.execute(machine.name, argv, Execution(interactive=bool(to_machine)))
        )
    if from_machine:
        if to_path.endswith("/") and not Path(to_path).is_dir():
            raise InputError(f"there is no directory {to_path}", resolution=f"mkdir -p {to_path}")
        for sentence in platform.copy_out(machine.name, from_path, Path(to_path).absolute()):
            say(sentence)
    elif from_path.endswith("/.") and Path(from_path).is_dir():
        # A Path drops the `/.` that asks for a directory's content; the current directory means it too.
        with contextlib.chdir(from_path):
            platform.copy_in(Path(), machine.name, to_path)
    else:
        platform.copy_in(Path(from_path).absolute(), machine.name, to_path)


def split_place(text: str) -> tuple[str, str]:
    """Return (machine, path); the machine is empty for a path of this computer, as in Docker."""
    name, colon, path = text.partition(":")
    if not colon or not name or "/" in name or name.startswith("."):
        return "", text
    return name, path or "/"
