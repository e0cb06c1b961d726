"""What happened when in a rollout: spans per machine, waits at gates, and marks; from its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from stoneware.dataclass import dataclass
from stoneware.rollout.journal import Event
from stoneware.rollout.model import Direction
from stoneware.rollout.state import Mode, RolloutState, Stage, advance, fold

_WORK = (Stage.STOPPING, Stage.APPLYING, Stage.WAITING, Stage.MONITORING)
_MARKS = {"paused", "held", "resumed", "rollback", "ended", "finalized", "note"}


def lasted(start: float, end: float) -> float:
    """Return the seconds between two times of day; none where somebody has set the clock back meanwhile."""
    return max(end - start, 0.0)


@dataclass(frozen=True)
class Span:
    """A machine in one stage; times in seconds since the epoch. `end` of an unfinished one is now."""

    machine: str
    stage: Stage
    direction: Direction
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Return how long it lasted."""
        return lasted(self.start, self.end)


@dataclass(frozen=True)
class GateWait:
    """Machines waiting at a gate for one reason; times in seconds since the epoch."""

    machines: tuple[str, ...]
    gate: str
    reason: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Return how long it lasted."""
        return lasted(self.start, self.end)


@dataclass(frozen=True)
class Mark:
    """Something that happened to the rollout as a whole, or a machine that failed."""

    time: float
    kind: str
    text: str
    machines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """One rollout. `end` is now while it has not ended; it may be finalized long after its end."""

    state: RolloutState
    start: float
    end: float
    spans: tuple[Span, ...]
    waits: tuple[GateWait, ...]
    marks: tuple[Mark, ...]

    @property
    def seconds(self) -> float:
        """Return how long the rollout took, pauses included."""
        return lasted(self.start, self.end)

    def of(self, machine: str) -> tuple[Span, ...]:
        """Return the spans of one machine in order."""
        return tuple(span for span in self.spans if span.machine == machine)

    def split(self, machine: str) -> Mapping[str, float]:
        """Return the seconds a machine spent in each stage, and at gates before it went down (`gates`)."""
        found: dict[str, float] = {}
        for span in self.of(machine):
            found[str(span.stage)] = found.get(str(span.stage), 0.0) + span.seconds
        return found


@dataclass
class _Open:
    """What is under way while events are read."""

    spans: dict[str, Span] = field(default_factory=dict)
    wait: GateWait | None = None
    done: list[Span] = field(default_factory=list)
    waits: list[GateWait] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def close_wait(self, time: float) -> None:
        if self.wait is not None:
            self.waits.append(replace(self.wait, end=time))
            self.wait = None

    def close(self, machine: str, time: float) -> None:
        span = self.spans.pop(machine, None)
        if span is not None:
            self.done.append(replace(span, end=time))


def timeline(events: Sequence[Event], now: float) -> Timeline | None:
    """Return the timeline of one rollout's events; None where it has none. `now` ends what is under way."""
    state = fold(events[:1])
    if state is None:
        return None
    under_way = _Open()
    for event in events[1:]:
        state = advance(state, event)
        _take(under_way, event, state)
    end = _end(events, state, now)
    under_way.close_wait(end)
    for machine in list(under_way.spans):
        under_way.close(machine, end)
    spans = tuple(sorted(under_way.done, key=lambda span: (span.start, span.machine)))
    return Timeline(state, events[0].time, end, spans, tuple(under_way.waits), tuple(under_way.marks))


def _end(events: Sequence[Event], state: RolloutState, now: float) -> float:
    if state.mode is Mode.RUNNING:
        return now
    # Not the last line, since finalizing may come days later.
    return next((event.time for event in events if event.name == "ended"), events[-1].time)


def _take(under_way: _Open, event: Event, state: RolloutState) -> None:
    reason = str(event.fields.get("reason", event.fields.get("text", "")))
    names = tuple(map(str, event.fields.get("machines", ())))
    under_way.close_wait(event.time)
    if event.name == "gate":
        gate = str(event.fields.get("gate", ""))
        under_way.wait = GateWait(names, gate, reason, event.time, event.time)
        return
    if event.name in _MARKS or event.name == "failed":
        under_way.marks.append(Mark(event.time, event.name, reason, names))
    if event.name in (*map(str, _WORK), "done", "failed"):
        _move(under_way, event, names, state)


def _move(under_way: _Open, event: Event, names: Iterable[str], state: RolloutState) -> None:
    for name in names:
        under_way.close(name, event.time)
        if event.name in map(str, _WORK):
            direction = state.machines[name].direction
            under_way.spans[name] = Span(name, Stage(event.name), direction, event.time, event.time)
