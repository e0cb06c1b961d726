"""Waiting for what a machine is to become, on any platform."""

from __future__ import annotations

import time
from collections.abc import Callable

from stoneware.model.machine import Machine, Phase
from stoneware.platforms.protocols import Machines

_OVER = (Phase.FAILED, Phase.STOPPED, Phase.DAMAGED)


def awaited(
    platform: Machines, name: str, until: Phase | Callable[[Machine | None], bool], timeout: float = 300
) -> Machine | None:
    """Return the machine as soon as it is in a phase or as a predicate wants it; fail where it cannot be."""
    deadline = time.monotonic() + timeout
    while True:
        machine = platform.observe(name)
        if isinstance(until, Phase):
            if machine is not None and machine.phase is until:
                return machine
            assert machine is not None, f"{name} is gone"
            assert machine.phase not in _OVER or until is Phase.STOPPED, machine.condition
        elif until(machine):
            return machine
        assert time.monotonic() < deadline, machine.condition if machine else f"{name} is gone"
        time.sleep(0.01)
