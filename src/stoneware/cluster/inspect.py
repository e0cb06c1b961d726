"""Asking the machines of a cluster for the digests of their files."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from stoneware.cluster.model import Observed
from stoneware.errors import InputError
from stoneware.guest.reports import inspection_of
from stoneware.model.guest_protocol import INSPECT
from stoneware.model.machine import Phase
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
    nonces: dict[str, str] = {}
    waiting: dict[str, str] = {}
    for name, seen in observed.machines.items():
        if seen.machine.phase is Phase.RUNNING:
            nonces[name] = secrets.token_hex(8)
            try:
                platform.set_metadata(seen.machine.name, {INSPECT: nonces[name]})
            except InputError:  # it is gone since
                continue
            waiting[name] = seen.machine.name
    deadline = clock() + timeout
    helper_checks, pause = HelperChecks(clock), _POLL
    while waiting and clock() < deadline:
        for name in [name for name, machine in waiting.items() if _answered(platform, machine, nonces[name])]:
            del waiting[name]
        if waiting:
            helper_checks.check(platform)
            sleep(max(0.0, min(pause, deadline - clock())))
            pause = min(1.5 * pause, _LONGEST_POLL)
    return nonces


def _answered(platform: Platform, machine: str, nonce: str) -> bool:
    try:
        return inspection_of(platform.guest_attributes(machine), nonce) is not None
    except InputError:
        return True  # gone: there is nothing to wait for
