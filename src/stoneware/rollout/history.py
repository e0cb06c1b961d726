"""A cluster's rollouts as rows: who, when, from what to what, how long each machine took, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoneware.cluster.model import Release
from stoneware.dataclass import dataclass
from stoneware.rollout.journal import Event, rollout_ids
from stoneware.rollout.state import Mode, RolloutState, Stage
from stoneware.rollout.timeline import GateWait, Timeline, lasted, timeline


@dataclass(frozen=True)
class MachineHistory:
    """One machine of a rollout. `seconds` are by stage, both ways together; images as people call them."""

    name: str
    service: str
    before: Release | None
    after: Release
    image_before: str
    image_after: str
    how: str
    reasons: tuple[str, ...]
    stage: Stage
    direction: str
    seconds: Mapping[str, float]
    failure: str = ""

    @property
    def result(self) -> str:
        """Return in a word or two how far it is: `done`, `returned`, `failed`, `monitoring`."""
        if self.direction == "back" and self.stage is Stage.DONE:
            return "returned"
        return f"{self.stage}, on the way back" if self.direction == "back" else str(self.stage)


@dataclass(frozen=True)
class RolloutHistory:
    """One rollout. `ended` None: it has not; `outcome` is then running, paused or holding."""

    id: str
    kind: str
    who: str
    host: str
    command: str
    started: float
    ended: float | None
    seconds: float
    outcome: str
    reason: str
    machines: tuple[MachineHistory, ...]
    waits: tuple[GateWait, ...]
    finalized: bool

    @property
    def waited(self) -> float:
        """Return the seconds that were spent at gates."""
        return sum(wait.seconds for wait in self.waits)


def history(events: Sequence[Event], now: float) -> list[RolloutHistory]:
    """Return all rollouts of a journal, the oldest first."""
    by_rollout: dict[str, list[Event]] = {name: [] for name in rollout_ids(events)}
    for event in events:
        by_rollout[event.rollout].append(event)
    lines = {name: timeline(own, now) for name, own in by_rollout.items()}
    return [_row(by_rollout[name], line) for name, line in lines.items() if line is not None]


def _row(events: Sequence[Event], line: Timeline) -> RolloutHistory:
    state, begun = line.state, events[0].fields
    ended = [event.time for event in events if event.name == "ended"]
    return RolloutHistory(
        id=state.id,
        kind=str(begun.get("kind", "rollout")),
        who=state.who,
        host=str(begun.get("host", "")),
        command=str(begun.get("command", "")),
        started=state.started,
        ended=ended[-1] if ended else None,
        # Finalizing may come days later, and is no part of the rollout.
        seconds=lasted(state.started, ended[-1] if ended else line.end),
        outcome=str(state.outcome or state.mode),
        reason=state.reason,
        machines=tuple(_machines(state, line)),
        waits=line.waits,
        finalized=any(event.name == "finalized" for event in events),
    )


def _machines(state: RolloutState, line: Timeline) -> list[MachineHistory]:
    return [
        MachineHistory(
            name=change.machine,
            service=change.service,
            before=change.before,
            after=change.after,
            image_before=str((change.entry_before or {}).get("image_ref", "")),
            image_after=str(change.entry_after.get("image_ref", "")),
            how=str(change.how),
            reasons=change.reasons,
            stage=state.machines[change.machine].stage,
            direction=str(state.machines[change.machine].direction),
            seconds=line.split(change.machine),
            failure=state.failures.get(change.machine, ""),
        )
        for change in state.plan.changes
    ]


def under_way(row: RolloutHistory) -> bool:
    """Say whether a rollout has not ended."""
    return row.outcome in (str(Mode.RUNNING), str(Mode.PAUSED), str(Mode.HOLDING))
