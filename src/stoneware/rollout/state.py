"""What a rollout has come to: the fold of its journal. Nothing else is remembered between two commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from stoneware.cluster.declaration import declared_digest
from stoneware.cluster.model import Release
from stoneware.dataclass import dataclass
from stoneware.rollout.journal import Event
from stoneware.rollout.model import Change, Direction, RolloutPlan
from stoneware.terraform import variables

_PLAN: TypeAdapter[RolloutPlan] = TypeAdapter(RolloutPlan)


class Stage(StrEnum):
    """How far a machine is. From `stopping` to `monitoring` it belongs to the current batch."""

    PENDING = "pending"
    STOPPING = "stopping"
    APPLYING = "applying"
    WAITING = "waiting"
    MONITORING = "monitoring"
    DONE = "done"
    FAILED = "failed"


class Mode(StrEnum):
    """What the rollout as a whole is at."""

    RUNNING = "running"
    PAUSED = "paused"
    HOLDING = "holding"  # after the canary
    ENDED = "ended"


class Outcome(StrEnum):
    """How a rollout ended."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"


IN_BATCH = (Stage.STOPPING, Stage.APPLYING, Stage.WAITING, Stage.MONITORING)


@dataclass(frozen=True)
class Progress:
    """One machine's stage, the way it goes, since when, and its `id` before it was touched."""

    stage: Stage = Stage.PENDING
    direction: Direction = Direction.FORWARD
    since: float = 0.0  # seconds since the epoch
    previous_id: str = ""


@dataclass(frozen=True)
class RolloutState:
    """A rollout as its journal tells it. `finished` are machines in the order they were done."""

    id: str
    plan: RolloutPlan
    started: float
    who: str = ""
    mode: Mode = Mode.RUNNING
    direction: Direction = Direction.FORWARD
    outcome: Outcome | None = None
    reason: str = ""
    machines: Mapping[str, Progress] = field(default_factory=dict)
    finished: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    released: bool = False  # the canary was found good
    present: tuple[str, ...] = ()  # all machines of the cluster when it began, as far as the journal says

    @cached_property
    def batch(self) -> tuple[str, ...]:
        """The machines that are being worked on."""
        return tuple(
            name
            for name, progress in self.machines.items()
            if progress.stage in IN_BATCH and progress.direction is self.direction
        )

    @cached_property
    def pending(self) -> tuple[str, ...]:
        """The machines that have still to go the present way, in the order of the plan.

        On the way back: those that failed first, then those that were being worked on, then those that were
        done, the last one first. A machine that was missing before has nothing to return to.
        """
        if self.direction is Direction.FORWARD:
            return tuple(name for name, item in self.machines.items() if item.stage is Stage.PENDING)
        place = {name: index for index, name in enumerate(self.finished)}
        touched = [change.machine for change in self.plan.changes if self._returns(change)]
        return tuple(
            sorted(touched, key=lambda name: (name not in self.failures, -place.get(name, len(place))))
        )

    @property
    def expected(self) -> frozenset[str]:
        """The machines that have to be there: not those that this rollout makes for the first time."""
        new = {
            change.machine
            for change in self.plan.changes
            if change.entry_before is None and self.machines[change.machine].stage is not Stage.DONE
        }
        return frozenset(self.plan.machines) - new

    @property
    def left(self) -> tuple[str, ...]:
        """The machines that it has touched and not returned: what it has left changed so far."""
        return tuple(
            name
            for name, item in self.machines.items()
            if item.direction is Direction.FORWARD and item.stage is not Stage.PENDING
        )

    @property
    def created(self) -> tuple[str, ...]:
        """Those of them that were not there before, and so have nothing to return to."""
        return tuple(name for name in self.left if self.plan.change(name).entry_before is None)

    def _returns(self, change: Change) -> bool:
        progress = self.machines[change.machine]
        touched = progress.direction is Direction.FORWARD and progress.stage is not Stage.PENDING
        return touched and change.entry_before is not None


def plan_document(plan: RolloutPlan) -> object:
    """Return a plan as JSON data."""
    return _PLAN.dump_python(plan, mode="json")


def plan_of(document: object) -> RolloutPlan:
    """Return the plan of JSON data. Raises ValueError."""
    plan = _PLAN.validate_python(document)
    return replace(plan, changes=tuple(_told_by_entries(change) for change in plan.changes))


def _told_by_entries(change: Change) -> Change:
    """Return a change whose releases are those of its entries.

    Another version of Stoneware may have written the journal, and know fewer or other fields of a machine.
    """
    return replace(
        change,
        before=_as_declared(change.before, change.entry_before),
        after=_as_declared(change.after, change.entry_after) or change.after,
    )


def _as_declared(release: Release | None, entry: Mapping[str, Any] | None) -> Release | None:
    if release is None or entry is None or "source" not in entry:
        return release
    return replace(release, declared=declared_digest(variables.read_machine(entry)))


def fold(events: Iterable[Event]) -> RolloutState | None:
    """Return what the events of one rollout come to; None without a `begin`."""
    state: RolloutState | None = None
    for event in events:
        state = _begin(event) if event.name == "begin" else (state and advance(state, event))
    return state


def _begin(event: Event) -> RolloutState:
    plan = plan_of(event.fields["plan"])
    machines = {change.machine: Progress(since=event.time) for change in plan.changes}
    who = str(event.fields.get("who", ""))
    present = tuple(map(str, event.fields.get("present", ())))
    return RolloutState(event.rollout, plan, event.time, who, machines=machines, present=present)


def advance(state: RolloutState, event: Event) -> RolloutState:
    """Return the state after one more event; notes change nothing."""
    change = _CHANGES.get(event.name)
    return change(state, event) if change else state


def _reason(event: Event) -> str:
    return str(event.fields.get("reason", ""))


def _turned(state: RolloutState, event: Event) -> RolloutState:
    return replace(state, mode=Mode.RUNNING, direction=Direction.BACK, reason=_reason(event))


def _halted(state: RolloutState, event: Event) -> RolloutState:
    mode = Mode.HOLDING if event.name == "held" else Mode.PAUSED
    return replace(state, mode=mode, reason=_reason(event))


def _ended(state: RolloutState, event: Event) -> RolloutState:
    return replace(state, mode=Mode.ENDED, outcome=Outcome(event.fields["outcome"]), reason=_reason(event))


def _moved(state: RolloutState, event: Event) -> RolloutState:
    machines = dict(state.machines)
    ids = event.fields.get("ids", {})
    for name in event.fields["machines"]:
        before = machines[name]
        # Only the line that begins a machine's turn has ids: they hold until the next one.
        machines[name] = Progress(
            Stage(event.name), state.direction, event.time, str(ids.get(name, before.previous_id))
        )
    finished = state.finished
    # Only those count as finished that have the new release: a return finishes nothing.
    if event.name == "done" and state.direction is Direction.FORWARD:
        finished = (*finished, *event.fields["machines"])
    return replace(state, machines=machines, finished=finished)


def _failed(state: RolloutState, event: Event) -> RolloutState:
    """Take machines as failed and do what follows from it: one line, so that no kill can come between."""
    names, reason = event.fields["machines"], _reason(event)
    machines = dict(state.machines)
    for name in names:
        machines[name] = replace(machines[name], stage=Stage.FAILED, since=event.time)
    failures = {**state.failures, **dict.fromkeys(names, reason)}
    failed = replace(state, machines=machines, failures=failures)
    match event.fields["action"]:
        case "rollback":
            return _turned(failed, event)
        case "pause":
            return _halted(failed, event)
    return failed


def _resumed(state: RolloutState, _event: Event) -> RolloutState:
    """Go on, and try machines that failed again, the way they were going: that is what resuming means."""
    machines = dict(state.machines)
    for name, progress in state.machines.items():
        if progress.stage is Stage.FAILED:
            # On the way back it stays failed, or it would not be among those that return.
            again = Stage.FAILED if state.direction is Direction.BACK else Stage.PENDING
            machines[name] = replace(progress, stage=again, direction=Direction.FORWARD)
    return replace(
        state,
        mode=Mode.RUNNING,
        reason="",
        # Resuming a rollout that holds is the word that its canary is good.
        released=state.released or state.mode is Mode.HOLDING,
        machines=machines,
        failures=state.failures if state.direction is Direction.BACK else {},
    )


_CHANGES: Mapping[str, Callable[[RolloutState, Event], RolloutState]] = {
    **dict.fromkeys(("stopping", "applying", "waiting", "monitoring", "done"), _moved),
    "failed": _failed,
    "rollback": _turned,
    "paused": _halted,
    "held": _halted,
    "resumed": _resumed,
    "ended": _ended,
}
