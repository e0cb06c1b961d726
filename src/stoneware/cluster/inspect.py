"""Asking the machines of a cluster for the digests of their files."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from stoneware.cluster.model import Observed, ObservedMachine
from stoneware.errors import InputError
from stoneware.guest.reports import inspection_of
from stoneware.model.guest_protocol import INSPECT
from stoneware.model.machine import Phase
from stoneware.platforms import together
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import HelperChecks

_POLL, _LONGEST_POLL = 0.05, 1.0  # seconds: most answer at once, and a platform may count questions


def inspect_files(
    platform: Platform,
    observed: Observed,
    *,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """Ask all running machines for the digests of their files; wait for the answers, `timeout` at most.

    Return by short name the nonce each was asked with: an answer with another one is an old one.
    """
    running = {name: seen.machine.name for name, seen in observed.machines.items() if _runs(seen)}
    nonces = {name: secrets.token_hex(8) for name in running}
    asked = together.each(platform, lambda name: _ask(platform, running[name], nonces[name]), list(running))
    waiting = {name: machine for (name, machine), told in zip(running.items(), asked, strict=True) if told}
    deadline = clock() + timeout
    helper_checks, pause = HelperChecks(clock), _POLL
    while waiting and clock() < deadline:
        names = list(waiting)
        answers = together.each(
            platform, lambda name: _answered(platform, running[name], nonces[name]), names
        )
        for name, answered in zip(names, answers, strict=True):
            if answered:
                del waiting[name]
        if waiting:
            helper_checks.check(platform)
            sleep(max(0.0, min(pause, deadline - clock())))
            pause = min(1.5 * pause, _LONGEST_POLL)
    return nonces


def _runs(seen: ObservedMachine) -> bool:
    return seen.machine.phase is Phase.RUNNING


def _ask(platform: Platform, machine: str, nonce: str) -> bool:
    """Ask a machine, and say whether it is there."""
    try:
        platform.set_metadata(machine, {INSPECT: nonce})
    except InputError:  # it is gone since
        return False
    return True


def _answered(platform: Platform, machine: str, nonce: str) -> bool:
    try:
        return inspection_of(platform.guest_attributes(machine), nonce) is not None
    except InputError:
        return True  # gone: there is nothing to wait for
