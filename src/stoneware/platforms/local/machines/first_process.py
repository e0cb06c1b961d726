"""Waiting for the first process of a machine that was just started: its shim tells in files."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stoneware.errors import MachineError
from stoneware.platforms.local.machines.record import Paths, shown_processes

if TYPE_CHECKING:
    from stoneware.platforms.local.metadata.inotify import Inotify

# Of twenty that were started at once, some have taken more than 30.
_TIMEOUT = 90.0  # seconds for nspawn to set a machine up; 0.1 s on an idle computer
_LOOK = 0.5  # seconds between two looks at its processes where the shim says nothing
# Seconds between two looks where the kernel tells nothing, at first and later.
_POLL, _SLOW_POLL = 0.003, 0.1
_REPORTS = ("leader", "exit", "error")  # what the shim writes once it knows how a start goes

Pause = Callable[[], None]


def await_leader(paths: Paths, *, ends: bool = False) -> None:
    """Return when a machine's first process and network port are there, or it `ends` as is expected of it.

    Raises MachineError.
    """
    deadline = time.monotonic() + _TIMEOUT
    seen = False
    with _watched(paths.run) as pause:
        while time.monotonic() < deadline:
            processes = shown_processes(paths)
            if processes.leader is not None:
                return
            # The shim may not be there yet at the first look: only its end counts, not its absence.
            if processes.exit_code is not None or (seen and not processes.alive):
                break
            seen = seen or processes.alive
            pause()
    processes = shown_processes(paths)
    if (processes.exit_code == 0 or (ends and processes.exit_code is not None)) and not processes.error:
        return  # it came up and has powered itself off already
    raise MachineError(
        f"the machine {paths.name!r} did not start",
        details="\n".join(part for part in (processes.error, tail(paths.root / "shim.log")) if part),
        resolution="stoneware doctor    # checks what machines need of this computer",
    )


@contextlib.contextmanager
def _watched(run: Path) -> Iterator[Pause]:
    """Give a pause that ends when the shim writes something, and after a while.

    Twenty machines that are started at once need the processors more than those who wait for them, so the
    kernel tells, unless it has no inotify instance to give.
    """
    from stoneware.platforms.local.metadata import inotify as kernel  # with ctypes: not where nothing starts

    try:
        inotify = kernel.Inotify()
    except OSError:
        yield lambda: _poll(run)
        return
    try:
        if inotify.add(run):
            yield lambda: _await_event(inotify)
        else:
            yield lambda: _poll(run)
    finally:
        os.close(inotify.descriptor)


def _await_event(inotify: Inotify) -> None:
    events = select.poll()
    events.register(inotify.descriptor, select.POLLIN)
    events.poll(_LOOK * 1000)
    # Read only to be empty again: what has changed is seen by looking at the files.
    inotify.read()


def _poll(run: Path) -> None:
    reports = [os.fspath(run / name) for name in _REPORTS]
    began = time.monotonic()
    while (passed := time.monotonic() - began) < _LOOK and not any(map(os.path.exists, reports)):
        # The longer it takes, the less often: with twenty starts the looks took a sixth of the processors.
        time.sleep(min(max(_POLL, passed / 20), _SLOW_POLL))


def tail(path: Path) -> str:
    """Return the last lines of a log; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-15:])
    return ""
