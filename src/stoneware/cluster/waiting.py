"""Waiting until machines run, are healthy and have taken their configuration on, several at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from stoneware.cluster import events
from stoneware.errors import InputError, MachineError
from stoneware.model.machine import FailedCheck, Health, Machine, Phase
from stoneware.platforms.protocols import Platform

_POLL = 0.02  # seconds between two looks at few machines
_POLL_EACH = 0.002  # and what each machine adds to it
_REST = 4  # times as long as the last look took, at least: machines that start need the processors
_LONGEST = 1.0
_TEND = 1.0
_TAIL_BYTES = 16 << 10
_TAIL_LINES = 12


@dataclass(frozen=True)
class Goal:
    """What a machine is to become: running, and healthy where it is `checked`.

    `config_digest` has to be in use, unless it is empty. A `patient` goal does not give up at `unhealthy`:
    the machine was that before. A `settled` one is to stay as it is.
    """

    name: str  # short
    machine: str  # on the platform
    action: str
    checked: bool
    config_digest: str = ""
    patient: bool = False
    settled: bool = False


@dataclass(frozen=True)
class Failure:
    """A machine that did not get there. `console` is the end of its console."""

    name: str
    machine: str
    phase: str
    reason: str
    console: str
    check: FailedCheck | None = None


class MachinesFailed(MachineError):
    """Some machines of a cluster did not come up; the others are left as they are. `failures` says which."""

    def __init__(self, failures: tuple[Failure, ...], *, waiting: tuple[str, ...] = ()) -> None:
        first = failures[0]
        brief = (
            f"the machine {first.name} {first.reason}"
            if len(failures) == 1
            else f"{len(failures)} machines did not come up: {', '.join(one.name for one in failures)}"
        )
        left = f"Not made, since they depend on it: {', '.join(waiting)}." if waiting else ""
        super().__init__(
            brief,
            details="\n".join(filter(None, [*map(_told, failures), left])),
            resolution=_next(first),
        )
        self.failures = failures


def _told(failure: Failure) -> str:
    lines = [f"{failure.name} (phase {failure.phase}): {failure.reason}"]
    lines += check_lines(failure.check)
    return "\n".join([*lines, *(f"  | {line}" for line in failure.console.splitlines())])


def check_lines(check: FailedCheck | None) -> list[str]:
    """Return what a health check that fails has said as lines to be put below a machine's."""
    if check is None:
        return []
    first, *said = check.lines
    return [f"  {first}", *(f"  > {line}" for line in said)]


def _next(failure: Failure) -> str:
    """Return what to type. `up` waits again, but makes nothing anew that neither failed nor differs."""
    name = failure.machine
    if failure.check is None or failure.phase != Phase.RUNNING:
        return f"stoneware logs {name}    # then `stoneware up` goes on from here"
    return (
        f"stoneware logs {name}    # or look around in it: stoneware exec -it {name} sh\n"
        f"stoneware up    # once the file or the image is right; if they are: stoneware restart {name}"
    )


@dataclass
class _State:
    """One goal on its way. `level` is 0 going, 1 running, 2 there."""

    goal: Goal
    began: float
    deadline: float
    level: int = 0
    seen: tuple[str, str] = ("", "")
    line: str = ""
    offset: int = 0
    failure: Failure | None = None

    @property
    def over(self) -> bool:
        return self.level == 2 or self.failure is not None


@dataclass
class Watch:
    """The machines that are waited for. `timeout` is what each gets, from when it was added."""

    platform: Platform
    reporter: events.Reporter
    timeout: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _states: dict[str, _State] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)
    _tended: float = 0.0
    _looked: float = 0.0  # seconds that the last look took

    def begin(self, name: str, action: str) -> None:
        """Say that something begins with a machine; what it takes is counted from here."""
        self._began[name] = self.clock()
        self.reporter.emit(events.MachineStarted(name, action))

    def add(self, goal: Goal) -> None:
        """Wait for one more machine; its time runs from here."""
        now = self.clock()
        state = _State(goal, self._began.get(goal.name, now), now + self.timeout)
        state.offset = self._console_end(goal)
        self._states[goal.name] = state

    def _console_end(self, goal: Goal) -> int:
        if goal.action == "create":
            return 0
        try:
            return self.platform.console_place(goal.machine, lines=0)
        except InputError:
            return 0

    def until(self, levels: Mapping[str, bool]) -> None:
        """Return once each of these machines runs (and where the value is true, is healthy).

        Raises MachinesFailed once all of them are there or failed.
        """
        wanted = {name: 2 if healthy else 1 for name, healthy in levels.items() if name in self._states}
        while True:
            self._look()
            states = [self._states[name] for name in wanted]
            if all(state.over or state.level >= wanted[state.goal.name] for state in states):
                self.raise_failures(states)
                return
            self._pause()

    def until_all(self) -> None:
        """Return once every machine is there. Raises MachinesFailed."""
        self.until(dict.fromkeys(self._states, True))

    def raise_failures(self, states: Iterable[_State] | None = None) -> None:
        """Raise MachinesFailed where one has failed."""
        found = tuple(
            state.failure for state in (states or self._states.values()) if state.failure is not None
        )
        if found:
            raise MachinesFailed(found)

    def _pause(self) -> None:
        now = self.clock()
        if now - self._tended >= _TEND:
            self._tended = now
            self.platform.tend()
        going = sum(not state.over for state in self._states.values())
        self.sleep(min(max(_POLL + _POLL_EACH * going, _REST * self._looked), _LONGEST))

    def _look(self) -> None:
        began = self.clock()
        for state in self._states.values():
            if not state.over:
                self._step(state)
        self._looked = self.clock() - began

    def _step(self, state: _State) -> None:
        goal = state.goal
        machine = self.platform.observe(goal.machine)
        if machine is None:
            self._fail(state, None, "is gone")
            return
        if goal.settled and state.seen == ("", "") and level_of(goal, machine) == 2:
            state.level = 2  # nothing was to be done, and nothing has to be told
            return
        self._show(state, machine)
        fault = _fault(goal, machine)
        if fault:
            self._fail(state, machine, fault)
            return
        state.level = level_of(goal, machine)
        if state.level == 2:
            seconds = self.clock() - state.began
            reached = "healthy" if goal.checked else "running"
            self.reporter.emit(events.MachineFinished(goal.name, goal.action, reached, seconds))
        elif self.clock() >= state.deadline:
            want = "healthy" if goal.checked else "running"
            self._fail(state, machine, f"was not {want} within {self.timeout:g} seconds")

    def _show(self, state: _State, machine: Machine) -> None:
        line = self._last_line(state)
        if machine.failed_check is not None and machine.health is Health.UNHEALTHY:
            line = machine.failed_check.line
        seen = (str(machine.phase), str(machine.health))
        if seen != state.seen or line != state.line:
            state.seen, state.line = seen, line
            self.reporter.emit(events.MachineProgress(state.goal.name, *seen, line))

    def _last_line(self, state: _State) -> str:
        try:
            data, state.offset = self.platform.console(state.goal.machine, state.offset)
        except InputError:  # it was removed between two looks
            return state.line
        lines = [text for text in data.decode(errors="replace").splitlines() if text.strip()]
        return lines[-1].strip() if lines else state.line

    def _fail(self, state: _State, machine: Machine | None, reason: str) -> None:
        phase = str(machine.phase) if machine is not None else "gone"
        text = f"{reason}: {machine.error}" if machine is not None and machine.error else reason
        tail = console_end(self.platform, state.goal.machine)
        check = machine.failed_check if machine is not None else None
        state.failure = Failure(state.goal.name, state.goal.machine, phase, text, tail, check)
        seconds = self.clock() - state.began
        self.reporter.emit(events.MachineFailed(state.goal.name, phase, text, seconds))


def level_of(goal: Goal, machine: Machine) -> int:
    """Return 0 while a machine is on its way, 1 once it runs, 2 once it is what it is to become."""
    if machine.phase is not Phase.RUNNING:
        return 0
    if goal.config_digest and machine.config_digest != goal.config_digest:
        return 0
    return 1 if goal.checked and machine.health is not Health.HEALTHY else 2


def _fault(goal: Goal, machine: Machine) -> str:
    """Return why a machine will not become what it is to be, or nothing."""
    if machine.phase in (Phase.FAILED, Phase.DAMAGED):
        return "failed"
    if machine.phase in (Phase.STOPPED, Phase.STOPPING):
        code = f" (exit code {machine.exit_code})" if machine.exit_code is not None else ""
        return f"has stopped{code}"
    if machine.phase is Phase.RUNNING and goal.checked and not goal.patient:
        return "is unhealthy" if machine.health is Health.UNHEALTHY else ""
    return ""


def console_end(platform: Platform, machine: str, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a machine's console as text; nothing where it is gone."""
    try:
        data, _ = platform.console(machine, platform.console_place(machine, lines=lines))
    except InputError:
        return ""
    text = data[-_TAIL_BYTES:].decode(errors="replace").replace("\r", "")
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])
