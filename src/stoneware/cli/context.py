"""Where the commands get the images and the platform from; tests put fakes in their place."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoneware.cli.output import say
from stoneware.platforms import registry
from stoneware.ui.hints import remember_platform

if TYPE_CHECKING:
    from stoneware.platforms.disks import Disks
    from stoneware.platforms.project_file import Project
    from stoneware.platforms.protocols import Images, Platform
    from stoneware.platforms.registry import Backend
    from stoneware.platforms.upkeep import Upkeep


_CHOSEN = "stoneware.platform"  # in a command's click context


def choose(name: str | None, directory: Path = Path()) -> None:
    """Let this command use a platform: the one named, else that of its directory."""
    click.get_current_context().meta[_CHOSEN] = _named(name, directory)
    # Not what a variable says, which the next command sees as well.
    remember_platform(name or "")


def _named(name: str | None, directory: Path) -> tuple[str, Project]:
    project = registry.project_of(directory)
    return name or registry.chosen(project), project


def _choice() -> tuple[str, Project]:
    command = click.get_current_context(silent=True)  # none in the provider's own program
    meta = {} if command is None else command.meta
    if _CHOSEN not in meta:
        meta[_CHOSEN] = _named(None, Path())  # once for a command, which asks from many places
    found: tuple[str, Project] = meta[_CHOSEN]
    return found


def backend() -> Backend:
    """Return the platform that this command uses, before it is opened."""
    return registry.backend(*_choice())


def open_store(*, create: bool = True) -> Images:
    """Open the place where images are kept, making it where there is none and `create` is set."""
    images, told = backend().open_images(create=create)
    for sentence in told:
        say(sentence)
    return images


_PATIENCE = 20.0  # seconds that the removal of a finished bake's builder may take


def leave_bake(build_id: str, lock: int) -> None:
    """Start a process that removes what a bake has left (see `stoneware.bake.workdir.Leave`)."""
    import subprocess

    # -P: nothing that lies in the current directory is imported.
    name, project = _choice()
    directory = str(project.directory.absolute())
    words = ["-P", "-m", "stoneware.cli.bake_removal", build_id, str(lock), name, directory]
    with contextlib.suppress(OSError):  # no process can be started: the next command does it
        subprocess.Popen(
            # A unit of systemd that the bake ran in would fail over a process that is left in it.
            [*backend().outliving(f"Stoneware's removal of {build_id}"), sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends this command, and not that process
            pass_fds=(lock,),  # it looks after what is left until it lets go of this
        )


def open_platform(store: Images | None = None, *, settled: bool = False) -> Platform:
    """Return the platform over the images, once what killed commands left on it is removed.

    `settled`: what finished bakes have left to a process is waited for as well, so that no list shows it.
    """
    from stoneware.bake import workdir
    from stoneware.platforms import telling

    telling.listen(say)

    images = store if store is not None else open_store()
    platform = backend().open_platform(images)
    # Builders first, by the Terraform that made them.
    patience = _PATIENCE if settled else 0
    for sentence in [*workdir.recover(images, platform, patience=patience), *backend().recover(images)]:
        say(sentence)
    return platform


def tell_left(images: Images) -> None:
    """Let the end of this command tell what others left on the platform that costs money."""
    command, found = click.get_current_context(silent=True), backend()

    def tell() -> None:
        for sentence in found.left(images):
            say(sentence)

    if command is not None:
        command.call_on_close(tell)


def open_disks(store: Images) -> Disks:
    """Return what writes images to files."""
    return backend().open_disks(store)


def open_upkeep(platform: Platform) -> Upkeep:
    """Return what looks after a platform."""
    return backend().open_upkeep(platform)
