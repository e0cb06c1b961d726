"""Waiting for a machine's files to change: one task looks after all waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.015  # seconds between two looks at the files of a machine that somebody waits for

Stamps = tuple[object, ...]


class Watcher:
    """Wakes the waiters of a machine when its files changed. The task ends with the last waiter."""

    def __init__(self, stamps: Callable[[Path], Stamps]) -> None:
        self._stamps = stamps
        self._seen: dict[Path, Stamps] = {}
        self._waiters: dict[Path, set[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def changed(self, machine: Path, since: Stamps, timeout: float | None) -> bool:
        """Wait until the files' stamps differ from `since`; return False after `timeout` seconds."""
        if self._stamps(machine) != since:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen.setdefault(machine, since)
        waiters = self._waiters.setdefault(machine, set())
        waiters.add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return False
        finally:
            waiters.discard(future)
            if not waiters and self._waiters.get(machine) is waiters:
                del self._waiters[machine]
                self._seen.pop(machine, None)
        return True

    def look(self, machine: Path) -> None:
        """Look at a machine's files now, and wake its waiters if something changed."""
        waiters = self._waiters.get(machine)
        if not waiters:
            return
        now = self._stamps(machine)
        if now != self._seen[machine]:
            del self._waiters[machine]
            del self._seen[machine]
            for future in waiters:
                if not future.done():
                    future.set_result(None)

    async def _watch(self) -> None:
        while self._waiters:
            for machine in list(self._waiters):
                self.look(machine)
            await asyncio.sleep(INTERVAL)
