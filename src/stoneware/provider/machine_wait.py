"""Waiting until a machine runs or is healthy."""

from __future__ import annotations

import threading

from stoneware.errors import MachineError
from stoneware.model.machine import Machine
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import Fault, Goal, HelperChecks, account, wait_for

PATIENCE = 600.0  # seconds, where no timeout is given
_POLL = 0.05  # seconds between two looks: many machines are waited for side by side


def wait_until(
    platform: Platform,
    name: str,
    goal: str,
    timeout: float,
    *,
    stopping: threading.Event,
    helper_checks: HelperChecks,
) -> Machine:
    """Return the machine once it is `running` or `healthy`.

    Raises MachineError, with the end of its console, when it fails, stops or is unhealthy, when `timeout`
    seconds have passed, and when Terraform was interrupted.
    """
    wanted = Goal(name, healthy=goal == "healthy")
    wait = wait_for(platform, wanted, timeout, pause=stopping.wait, helper_checks=helper_checks, poll=_POLL)
    if wait.machine is None:
        raise MachineError(f"the machine {name} is gone", resolution="run the same command again")
    if wait.fault is None:
        return wait.machine
    words = {
        Fault.UNHEALTHY: f"the machine {name} is unhealthy",
        Fault.LATE: f"the machine {name} was not {goal} within {timeout:g} seconds",
        Fault.INTERRUPTED: f"interrupted while the machine {name} was not {goal} yet",
    }
    raise MachineError(
        words.get(wait.fault, f"the machine {name} failed to start"),
        details=account(platform, wait.machine),
        resolution=f"stoneware logs {name}",
    )
