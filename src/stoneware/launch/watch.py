"""Watching a machine: its console as it grows, and the moment when it is up, healthy or gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from stoneware.errors import InputError, MachineError
from stoneware.model.machine import Machine, Phase
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import POLL, Fault, Goal, Wait, account, wait_for

_OVER = (Phase.STOPPED, Phase.DAMAGED)


def follow_pieces(
    platform: Platform, name: str, offset: int = 0, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[bytes, int]]:
    """Yield the console's output from `offset` on as it comes, each piece with the offset behind it.

    It ends once the machine is stopped or gone.
    """
    while True:
        # Looked at before its console is read: so nothing is missed of what it said before it stopped.
        machine = platform.observe(name)
        while machine is not None:
            try:
                data, offset = platform.console(name, offset)
            except InputError:
                return  # it was removed between the two looks
            if not data:
                break
            yield data, offset
        if machine is None or machine.phase in _OVER:
            return
        sleep(POLL)


def follow_consoles(
    platform: Platform, offsets: Mapping[str, int], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, bytes, int]]:
    """Yield what the consoles of several machines print, and the offset behind it, until all stopped."""
    following = dict(offsets)
    while following:
        for name in list(following):
            machine = platform.observe(name)
            try:
                data, following[name] = platform.console(name, following[name])
            except InputError:  # it was removed
                data = b""
            if data:
                yield name, data, following[name]
            elif machine is None or machine.phase in _OVER:
                del following[name]
        sleep(POLL)


def wait_until_up(
    platform: Platform,
    name: str,
    *,
    timeout: float,
    health: bool = False,
    settle: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Machine:
    """Return the machine once it runs (and, with `health`, its health check has passed).

    Without `health` it must go on running for `settle` seconds: a service that ends at once was not up.
    Raises MachineError with the end of its console when it fails, stops, is unhealthy, or `timeout`
    seconds have passed, and HostError where waiting is in vain: the machines' disk is full.
    """
    goal = Goal(name, healthy=health, settle=0.0 if health else settle)
    wait = wait_for(platform, goal, timeout, clock=clock, pause=sleep)
    if wait.machine is None:
        raise MachineError(f"the machine {name} is gone", resolution="stoneware ps -a")
    if wait.fault is None:
        return wait.machine
    raise MachineError(
        f"the machine {name} {_fault_words(wait, timeout)}",
        details=account(platform, wait.machine),
        resolution=f"stoneware logs {name}",
    )


def wait_until_stopped(platform: Platform, name: str, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Wait for a machine to stop and return its exit code (0 when it has none, or was removed)."""
    while True:
        machine = platform.observe(name)
        if machine is None:
            return 0
        if machine.phase in _OVER:
            return machine.exit_code or 0
        sleep(POLL)


def _fault_words(wait: Wait, timeout: float) -> str:
    if wait.fault is Fault.ENDED:
        return wait.ended
    if wait.fault is Fault.UNHEALTHY:
        return "is unhealthy"
    if wait.fault is Fault.LATE:
        return f"was not {wait.goal.word} within {timeout:g} seconds"
    return "failed to start"
