"""Waiting for a machine's files to change: the kernel tells (inotify), and one task looks now and then.

Where the kernel has no inotify instance to give, the task alone looks, every 15 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from stoneware.platforms.local.metadata.inotify import Inotify

INTERVAL = 0.015  # seconds between two looks, without inotify
SLOW_INTERVAL = 0.25  # and with it: for what lies outside of the machines' directories

Stamps = tuple[object, ...]


class Watcher:
    """Wakes the waiters of a machine when its files changed. The task ends with the last waiter."""

    def __init__(self, stamps: Callable[[Path], Stamps], *, use_inotify: bool = True) -> None:
        self._stamps = stamps
        self._use_inotify = use_inotify
        self._inotify: Inotify | None = None
        self._seen: dict[Path, Stamps] = {}
        self._waiters: dict[Path, set[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._interval = SLOW_INTERVAL

    async def changed(self, machine: Path, since: Stamps, timeout: float | None) -> bool:
        """Wait until the files' stamps differ from `since`; return False after `timeout` seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if machine not in self._waiters:
            self._waiters[machine] = set()
            self._seen[machine] = since
            self._watch(machine)
        waiters = self._waiters[machine]
        waiters.add(future)
        if self._stamps(machine) != since:  # looked at after the kernel was asked: no change slips through
            self._wake(machine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_at_all())
        try:
            await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return False
        finally:
            waiters.discard(future)
            if not waiters and self._waiters.get(machine) is waiters:
                self._forget(machine)
        return True

    def look(self, machine: Path) -> None:
        """Look at a machine's files now, and wake its waiters if something changed."""
        if machine in self._waiters and self._stamps(machine) != self._seen[machine]:
            self._wake(machine)

    def _wake(self, machine: Path) -> None:
        for future in self._forget(machine):
            if not future.done():
                future.set_result(None)

    def _forget(self, machine: Path) -> set[asyncio.Future[None]]:
        if self._inotify is not None:
            self._inotify.remove(machine)
        del self._seen[machine]
        return self._waiters.pop(machine)

    def _watch(self, machine: Path) -> None:
        if self._use_inotify and self._inotify is None:
            try:
                self._inotify = Inotify()
            except OSError:
                self._use_inotify = False
            else:
                loop = asyncio.get_running_loop()
                loop.add_reader(self._inotify.descriptor, self._told)
        if self._inotify is None or not self._inotify.add(machine):
            self._interval = INTERVAL

    def _told(self) -> None:
        for machine in self._inotify.read() if self._inotify is not None else ():
            self.look(machine)

    async def _look_at_all(self) -> None:
        while self._waiters:
            for machine in list(self._waiters):
                self.look(machine)
            await asyncio.sleep(self._interval)
