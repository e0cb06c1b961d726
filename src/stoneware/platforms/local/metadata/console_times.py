"""Noting when consoles were written to, and bounding what servers log: a task of the metadata server.

The kernel tells which console has grown (inotify). However fast they grow, each is looked at some twenty
times a second at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from stoneware.platforms.local.machines import console
from stoneware.platforms.local.metadata.inotify import CREATE, MODIFY, MOVED_TO, Inotify

_PAUSE = 0.05  # seconds between two looks
_LOGS = 2.0  # seconds between two looks at the servers' own logs
LOG_LIMIT = 1 << 20  # bytes of such a log


class ConsoleTimes:
    """Keeps `console.times` of the machines below a directory."""

    def __init__(self, machines: Path, logs: Path) -> None:
        self._machines = machines
        self._logs = logs
        self._known: dict[Path, int | None] = {}
        self._inotify: Inotify | None = None

    async def run(self) -> None:
        """Note times until cancelled."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # no instance is to be had: then it looks at all, now and then
            self._inotify = Inotify(MODIFY | CREATE | MOVED_TO)
            self._inotify.add(self._machines)
        self._look(self._scan())
        bounded = 0.0
        while True:
            await self._grown(_LOGS)
            changed = self._inotify.read() if self._inotify is not None else set(self._known)
            # Its own directory has changed: a machine has come or gone.
            if self._inotify is None or self._machines in changed:
                changed |= self._scan()
            self._look(changed)
            if loop.time() - bounded > _LOGS:
                bounded = loop.time()
                bound_logs(self._logs)
            await asyncio.sleep(_PAUSE)

    async def _grown(self, limit: float) -> None:
        """Wait until a console has grown, `limit` seconds at most.

        The descriptor is looked at only here: unread, it would wake the loop without end during the pause.
        """
        if self._inotify is None:
            await asyncio.sleep(limit)
            return
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._inotify.descriptor, told.set)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), limit)
        finally:
            loop.remove_reader(self._inotify.descriptor)

    def _scan(self) -> set[Path]:
        """Watch the machines that have come, forget those that are gone; return the new ones."""
        try:
            there = {path for path in self._machines.iterdir() if not path.name.startswith(".")}
        except OSError:
            return set()
        new = there - self._known.keys()
        for path in new:
            if self._inotify is not None:
                self._inotify.add(path)
            self._known[path] = None
        for path in self._known.keys() - there:
            del self._known[path]
        return new

    def _look(self, changed: set[Path]) -> None:
        for path in changed & self._known.keys():
            self._known[path] = console.remember(path, self._known[path])


def bound_logs(directory: Path) -> None:
    """Empty those logs of the store's servers that have grown too long: they are appended to."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".log") and entry.stat().st_size > LOG_LIMIT:
                os.truncate(entry.path, 0)
