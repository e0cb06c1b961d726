"""Waiting for machines: the one loop that looks at them until each is what it is to become, or cannot be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum, IntEnum, auto
from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model.machine import Health, Machine, Phase
from stoneware.platforms.protocols import Platform

POLL = 0.02  # seconds between two looks at one machine: an observation reads a few small files
_POLL_EACH = 0.002  # what each machine that is waited for adds to it
_REST = 4  # times as long as the last look took, at least: machines that start need the processors
_LONGEST = 1.0
SETTLE = 2.0  # seconds after which a service that cannot work has mostly ended
CHECK_HELPERS = 1.0  # seconds between two looks at what machines depend on
_TAIL_LINES, _TAIL_BYTES = 12, 16 << 10


class Level(IntEnum):
    """How far a machine is on its way to a goal."""

    GOING = 0
    RUNNING = 1
    REACHED = 2


class Fault(Enum):
    """Why a machine does not become what it is to be."""

    GONE = auto()
    FAILED = auto()  # its boot or its service failed, or its records are damaged
    STOPPED = auto()
    ENDED = auto()  # it ran, but not for as long as it had to
    UNHEALTHY = auto()
    LATE = auto()
    INTERRUPTED = auto()  # no waiting any more


@dataclass(frozen=True)
class Goal:
    """What a machine is to become: running, and healthy where `healthy` is set.

    `machine` is its name on the platform. `config_digest` has to be in use, unless it is empty. The machine
    has to go on running for `settle` seconds. A `patient` goal does not give up at `unhealthy`: the machine
    may have been that before. Where `stopping_fails`, a machine that is stopping is taken for a stopped one.
    """

    machine: str
    healthy: bool = False
    config_digest: str = ""
    settle: float = 0.0
    patient: bool = False
    stopping_fails: bool = False

    @property
    def word(self) -> str:
        """What is waited for, in a word."""
        return "healthy" if self.healthy else "running"

    def level(self, machine: Machine) -> Level:
        """Return how far a machine is, whatever it was before."""
        if machine.phase is not Phase.RUNNING:
            return Level.GOING
        if self.config_digest and machine.config_digest != self.config_digest:
            return Level.GOING
        # An image with a health check is `none` as well, until the first result is reported.
        if self.healthy and machine.health is not Health.HEALTHY:
            return Level.RUNNING
        return Level.REACHED


@dataclass
class Wait:
    """A goal on its way, by the waiter's clock. `machine` is what was seen last; None where it is gone."""

    goal: Goal
    deadline: float
    level: Level = Level.GOING
    fault: Fault | None = None
    machine: Machine | None = None
    lasted: float = 0.0  # seconds that a machine which has to settle has run by now
    _running: tuple[float, float | None] | None = None  # since when, and which of its starts that is

    @property
    def ended(self) -> str:
        """What became of a machine that ended before it had settled, to be put after its name."""
        code = self.machine.exit_code if self.machine else None
        shown = f" (exit code {code})" if code is not None else ""
        hows = {Phase.FAILED: "failed", Phase.STOPPED: f"stopped{shown}", Phase.STOPPING: "stopped"}
        how = hows.get(self.machine.phase, "was started again") if self.machine else "was gone"
        return f"was up for {max(self.lasted, 0.1):.1f} seconds only, then it {how}"

    @property
    def over(self) -> bool:
        """Say whether nothing is waited for any more."""
        return self.level is Level.REACHED or self.fault is not None

    def see(self, machine: Machine | None, now: float) -> None:
        """Take in what a machine is at a moment."""
        self.machine = machine
        self.fault = self._end(machine, now)
        if machine is None or self.fault is not None:
            return
        self.level = self._settled(self.goal.level(machine), machine, now)
        if self.level is Level.REACHED:
            return
        unhealthy = machine.phase is Phase.RUNNING and machine.health is Health.UNHEALTHY
        if unhealthy and not self.goal.patient:
            self.fault = Fault.UNHEALTHY
        # One that runs already may settle beyond the deadline.
        elif now >= self.deadline and self._running is None:
            self.fault = Fault.LATE

    def _end(self, machine: Machine | None, now: float) -> Fault | None:
        if machine is None:
            return Fault.GONE
        if self._running is not None:
            self.lasted = now - self._running[0]
            # Of another start it has ended, and was started again between two looks.
            if machine.phase is not Phase.RUNNING or machine.started != self._running[1]:
                return Fault.ENDED
        if machine.phase in (Phase.FAILED, Phase.DAMAGED):
            return Fault.FAILED
        stopping = machine.phase is Phase.STOPPING and self.goal.stopping_fails
        return Fault.STOPPED if stopping or machine.phase is Phase.STOPPED else None

    def _settled(self, level: Level, machine: Machine, now: float) -> Level:
        if level is not Level.REACHED or not self.goal.settle:
            return level
        if self._running is None:
            self._running = now, machine.started
        return Level.REACHED if now - self._running[0] >= self.goal.settle else Level.RUNNING


class Helped(Protocol):
    """A platform, or a builder of one."""

    def check_helpers(self) -> None:
        """Restart what machines depend on and has died. Raises HostError where waiting is in vain."""
        ...


class HelperChecks:
    """Looks after what machines depend on, for all who wait, no more often than one of them would.

    `at_once` it does so the first time that it is asked to, else not within the first second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, at_once: bool = False) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock() - CHECK_HELPERS if at_once else clock()

    def check(self, platform: Helped) -> None:
        """Restart what has died, unless that has just been done. Raises HostError: waiting is in vain."""
        # Another thread is at it now, which is enough for both.
        if self._clock() - self._last < CHECK_HELPERS or not self._lock.acquire(blocking=False):
            return
        try:
            platform.check_helpers()
            self._last = self._clock()
        finally:
            self._lock.release()


def _nobody(_key: str, _wait: Wait) -> None:
    pass


@dataclass
class Waiter:
    """Machines that are waited for, by a key of the caller's.

    `pause` waits for a number of seconds and returns true to end the waiting. `seen` is told
    of each look at a machine, until its wait is over.
    """

    platform: Platform
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], bool | None] = time.sleep
    helper_checks: HelperChecks | None = None
    seen: Callable[[str, Wait], None] = _nobody
    poll: float = POLL
    waits: dict[str, Wait] = field(default_factory=dict)

    def add(self, key: str, goal: Goal, timeout: float) -> None:
        """Wait for one more machine, `timeout` seconds from now at most."""
        self.waits[key] = Wait(goal, self.clock() + timeout)

    def until(self, levels: Mapping[str, Level]) -> None:
        """Return once each of these waits is as far as this, or over. Raises HostError: it is in vain."""
        wanted = {key: level for key, level in levels.items() if key in self.waits}
        helper_checks = self.helper_checks = self.helper_checks or HelperChecks(self.clock)
        while True:
            took = self._look()
            if all(self.waits[key].over or self.waits[key].level >= wanted[key] for key in wanted):
                return
            going = [wait for wait in self.waits.values() if not wait.over]
            if self.pause(min(max(self.poll + _POLL_EACH * len(going), _REST * took), _LONGEST)):
                for wait in going:
                    wait.fault = Fault.INTERRUPTED
                return
            helper_checks.check(self.platform)

    def _look(self) -> float:
        """Look at each machine once; return the seconds that it took."""
        began = self.clock()
        for key, wait in self.waits.items():
            if not wait.over:
                wait.see(self.platform.observe(wait.goal.machine), self.clock())
                self.seen(key, wait)
        return self.clock() - began


def wait_for(
    platform: Platform,
    goal: Goal,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], bool | None] = time.sleep,
    helper_checks: HelperChecks | None = None,
    poll: float = POLL,
) -> Wait:
    """Wait for one machine, `timeout` seconds at most, and return how that ended."""
    waiter = Waiter(platform, clock, pause, helper_checks, poll=poll)
    waiter.add(goal.machine, goal, timeout)
    waiter.until({goal.machine: Level.REACHED})
    return waiter.waits[goal.machine]


def console_tail(platform: Platform, machine: str, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a machine's console as text; nothing where the machine is gone."""
    try:
        data, _ = platform.console(machine, platform.console_place(machine, lines=lines))
    except InputError:
        return ""
    # Bounded: a machine may write lines of any length.
    text = data[-_TAIL_BYTES:].decode(errors="replace").replace("\r", "")
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])


def account(platform: Platform, machine: Machine) -> str:
    """Return what there is to read about a machine that is in trouble: its state, its console's end."""
    parts = [*machine.condition, console_tail(platform, machine.name)]
    return "\n".join(part for part in parts if part)
