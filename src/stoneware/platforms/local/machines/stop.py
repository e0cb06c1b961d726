"""Ending machines: kindly first, hard after a time, never twice the same way."""

from __future__ import annotations

import time

from stoneware.platforms.local.machines.kill import (
    COMING_POLL,
    await_end,
    end,
    has_ended,
    kill,
    note_stop,
    wait_until,
)
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.platforms.local.machines.runners import runner_of

__all__ = ["end", "has_ended", "kill", "power_off", "wait_until"]

_SLOW_POLL = 1.0  # once it was asked; its end, of which the kernel tells, ends the pause as well


def power_off(paths: Paths, timeout: float) -> None:
    """Stop a machine: its services get `timeout` seconds, then it is killed. Returns when it is gone."""
    processes = shown_processes(paths)
    if not processes.alive:
        return
    # First: whatever ends the machine now, its restart policy is not to start it again.
    note_stop(paths)
    runner = runner_of(paths)
    began = now = time.monotonic()
    asked_at, asked_whom = 0.0, 0
    while now < began + timeout:
        processes = shown_processes(paths)
        if not processes.alive:
            return
        # Asked again while it goes on: the first process of a machine ignores signals until it is set up.
        if processes.leader and (processes.leader != asked_whom or now - asked_at > 1.0):
            runner.power_off(paths, processes.leader)
            asked_at, asked_whom = now, processes.leader
        # Twenty machines that stop at once need the processors more than those who wait for them.
        pause = _SLOW_POLL if asked_whom else COMING_POLL
        await_end(processes, min(pause, began + timeout - now))
        now = time.monotonic()
    kill(paths)
