"""Waiting until a cluster's machines are what they are to become, and reporting the progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from stoneware.cluster import events
from stoneware.dataclass import dataclass
from stoneware.errors import InputError, MachineError
from stoneware.model.machine import FailedCheck, Health, Machine, Phase
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import Fault, Goal, Level, Wait, Waiter, console_tail


@dataclass(frozen=True)
class Expected:
    """A machine of the cluster by its short name, and what it is to become.

    A `settled` one is to stay as it is.
    """

    name: str
    action: str
    goal: Goal
    settled: bool = False


@dataclass(frozen=True)
class Failure:
    """A machine that did not get there. `said` is what its service wrote, `console` the console's end."""

    name: str
    machine: str
    phase: str
    reason: str
    console: str
    check: FailedCheck | None = None
    said: tuple[str, ...] = ()


class MachinesFailed(MachineError):
    """Some machines of a cluster did not come up; the others are left as they are. `failures` says which."""

    def __init__(self, failures: tuple[Failure, ...], *, waiting: tuple[str, ...] = ()) -> None:
        first = failures[0]
        brief = (
            f"the machine {first.name} {first.reason}"
            if len(failures) == 1
            else f"{len(failures)} machines did not come up: {', '.join(one.name for one in failures)}"
        )
        left = f"Not created, because they depend on it: {', '.join(waiting)}." if waiting else ""
        super().__init__(
            brief,
            details="\n".join(filter(None, [*map(_told, failures), left])),
            resolution=_next(first),
        )
        self.failures = failures


def _told(failure: Failure) -> str:
    lines = [f"{failure.name} (phase {failure.phase}): {failure.reason}"]
    lines += [f"  > {line}" for line in failure.said]
    lines += check_lines(failure.check)
    return "\n".join([*lines, *(f"  | {line}" for line in failure.console.splitlines())])


def check_lines(check: FailedCheck | None) -> list[str]:
    """Return what a health check that fails has said as lines to be put below a machine's."""
    if check is None:
        return []
    first, *said = check.lines
    return [f"  {first}", *(f"  > {line}" for line in said)]


def _next(failure: Failure) -> str:
    """Return what to type. `up` waits again, but recreates nothing that neither failed nor differs."""
    name = failure.machine
    if failure.check is None or failure.phase != Phase.RUNNING:
        return f"stoneware logs {name}    # then `stoneware up` continues from here"
    return (
        f"stoneware logs {name}    # or open a shell in the machine: stoneware exec -it {name} sh\n"
        f"stoneware up    # once the file or the image is right; if they are: stoneware restart {name}"
    )


@dataclass
class _Shown:
    """What was told of a machine so far. `offset` is where what it says next begins."""

    expected: Expected
    began: float
    offset: int
    seen: tuple[str, str] = ("", "")
    line: str = ""
    failure: Failure | None = None


class Watch:
    """The machines that are waited for. `timeout` (seconds) is what each gets, from when it was added."""

    def __init__(
        self,
        platform: Platform,
        reporter: events.Reporter,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.platform = platform
        self.reporter = reporter
        self.timeout = timeout
        self.clock = clock
        self._waiter = Waiter(platform, clock, sleep, seen=self._seen)
        self._shown: dict[str, _Shown] = {}
        self._began: dict[str, float] = {}

    def begin(self, name: str, action: str) -> None:
        """Say that something begins with a machine; what it takes is counted from here."""
        self._began[name] = self.clock()
        self.reporter.emit(events.MachineStarted(name, action))

    def add(self, expected: Expected) -> None:
        """Wait for one more machine; its time runs from here."""
        name = expected.name
        began = self._began.get(name, self.clock())
        self._waiter.add(name, expected.goal, self.timeout)
        self._shown[name] = _Shown(expected, began, self._console_end(expected))

    def _console_end(self, expected: Expected) -> int:
        # Of one that was there before only what it says from now on is of interest.
        if expected.action == "create":
            return 0
        try:
            return self.platform.console_place(expected.goal.machine, lines=0)
        except InputError:
            return 0

    def until(self, levels: Mapping[str, Level]) -> None:
        """Return once each of these machines is there. Raises MachinesFailed once all are there or failed."""
        self._waiter.until(levels)
        # All are waited for, so that one run shows every machine that fails, not the first only.
        failures = [self._shown[name].failure for name in levels if name in self._shown]
        if found := tuple(failure for failure in failures if failure is not None):
            raise MachinesFailed(found)

    def until_all(self) -> None:
        """Return once every machine is there. Raises MachinesFailed."""
        self.until(dict.fromkeys(self._shown, Level.REACHED))

    def _seen(self, name: str, wait: Wait) -> None:
        """Tell what was seen of a machine, where that is anything new."""
        shown = self._shown[name]
        # A machine that was fine and is fine would be a line of output for nothing.
        unchanged = shown.expected.settled and shown.seen == ("", "") and wait.level is Level.REACHED
        if unchanged and wait.fault is None:
            return
        if wait.machine is not None:
            self._progress(shown, wait.machine)
        seconds = self.clock() - shown.began
        if wait.fault is not None:
            shown.failure = failure = self._failure(name, wait, wait.fault)
            self.reporter.emit(events.MachineFailed(name, failure.phase, failure.reason, seconds))
        elif wait.level is Level.REACHED:
            action, word = shown.expected.action, wait.goal.word
            self.reporter.emit(events.MachineFinished(name, action, word, seconds))

    def _progress(self, shown: _Shown, machine: Machine) -> None:
        line = self._last_line(shown)
        if machine.failed_check is not None and machine.health is Health.UNHEALTHY:
            line = machine.failed_check.line
        seen = (str(machine.phase), str(machine.health))
        if seen != shown.seen or line != shown.line:
            shown.seen, shown.line = seen, line
            self.reporter.emit(events.MachineProgress(shown.expected.name, *seen, line))

    def _last_line(self, shown: _Shown) -> str:
        try:
            data, shown.offset = self.platform.console(shown.expected.goal.machine, shown.offset)
        except InputError:  # it was removed between two looks
            return shown.line
        lines = [text for text in data.decode(errors="replace").splitlines() if text.strip()]
        return lines[-1].strip() if lines else shown.line

    def _failure(self, name: str, wait: Wait, fault: Fault) -> Failure:
        machine = wait.machine
        reason = self._words(wait, fault)
        tail = console_tail(self.platform, wait.goal.machine)
        if machine is None:
            return Failure(name, wait.goal.machine, "gone", reason, tail)
        # The first line is what is wrong; below it is what the service wrote.
        first, *said = machine.error.strip().splitlines() or [""]
        reason = f"{reason}: {first}" if first else reason
        phase = str(machine.phase)
        return Failure(name, wait.goal.machine, phase, reason, tail, machine.failed_check, tuple(said))

    def _words(self, wait: Wait, fault: Fault) -> str:
        """Return why a machine is not what it was to become, to be put after its name."""
        code = wait.machine.exit_code if wait.machine is not None else None
        words = {
            Fault.GONE: "is gone",
            Fault.FAILED: "failed",
            Fault.ENDED: wait.ended,
            Fault.STOPPED: f"has stopped{f' (exit code {code})' if code is not None else ''}",
            Fault.UNHEALTHY: "is unhealthy",
        }
        return words.get(fault, f"was not {wait.goal.word} within {self.timeout:g} seconds")
