"""Waiting until a machine runs or is healthy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from stoneware.errors import MachineError
from stoneware.model.machine import Health, Machine, Phase
from stoneware.platforms.protocols import Platform

POLL = 0.05  # seconds between two looks: an observation reads a few small files
TEND = 1.0  # seconds between two looks at what machines depend on
PATIENCE = 600.0  # seconds, where no timeout is given
_TAIL_BYTES = 16 << 10
_TAIL_LINES = 12


class Tender:
    """Lets many waiting threads tend the platform no more often than one would."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = time.monotonic()

    def tend(self, platform: Platform) -> None:
        """Restart what machines depend on and has died, unless that has just been done."""
        if time.monotonic() - self._last < TEND or not self._lock.acquire(blocking=False):
            return
        try:
            platform.tend()
            self._last = time.monotonic()
        finally:
            self._lock.release()


def wait_for(
    platform: Platform,
    name: str,
    goal: str,
    timeout: float,
    *,
    stopping: threading.Event,
    tend: Callable[[Platform], None],
) -> Machine:
    """Return the machine once it is `running` or `healthy`.

    Raises MachineError, with the end of its console, when it fails, stops or is unhealthy, when `timeout`
    seconds have passed, and when Terraform was interrupted.
    """
    deadline = time.monotonic() + timeout
    while True:
        machine = platform.observe(name)
        if machine is None:
            raise MachineError(f"the machine {name} is gone", resolution="run the same command again")
        if machine.phase in (Phase.FAILED, Phase.STOPPED, Phase.DAMAGED):
            raise _not_up(platform, machine, f"the machine {name} failed to start")
        if machine.phase is Phase.RUNNING:
            # An image with a health check is `none` as well, until the first result is reported.
            if goal == "running" or machine.health is Health.HEALTHY:
                return machine
            if machine.health is Health.UNHEALTHY:
                raise _not_up(platform, machine, f"the machine {name} is unhealthy")
        if time.monotonic() >= deadline:
            raise _not_up(platform, machine, f"the machine {name} was not {goal} within {timeout:g} seconds")
        if stopping.wait(POLL):
            raise _not_up(platform, machine, f"interrupted while the machine {name} was not {goal} yet")
        tend(platform)


def _not_up(platform: Platform, machine: Machine, brief: str) -> MachineError:
    console, _ = platform.console(machine.name, platform.console_place(machine.name, lines=_TAIL_LINES))
    lines = console[-_TAIL_BYTES:].decode(errors="replace").replace("\r", "").rstrip("\n").split("\n")
    return MachineError(
        brief,
        details="\n".join(part for part in (*machine.condition, *lines[-_TAIL_LINES:]) if part),
        resolution=f"stoneware logs {machine.name}",
    )
