"""How rollouts are shown: plans and histories as tables; a rollout under way as lines, as JSON, or live."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from stoneware.cluster import events as cluster_events
from stoneware.cluster.model import Release
from stoneware.image.references import short_id
from stoneware.rollout.documents import gate_words
from stoneware.rollout.engine import Observer
from stoneware.rollout.gatekeeper import Answer
from stoneware.rollout.history import RolloutHistory
from stoneware.rollout.journal import Event
from stoneware.rollout.leaders import leader_lines
from stoneware.rollout.lock import RolloutLock
from stoneware.rollout.model import Direction, How
from stoneware.rollout.planner import Planned
from stoneware.rollout.state import RolloutState
from stoneware.ui.hints import completed, completed_quotes
from stoneware.ui.progress import Lines, remark_lines
from stoneware.ui.text import duration, one_line, table
from stoneware.untrusted.visible import json_text

PLAN_HEADER = ("MACHINE", "HOW", "FROM", "TO", "GATES", "WHY")
STATUS_HEADER = ("MACHINE", "STATE", "FROM", "TO", "TOOK", "REMARK")
HISTORY_HEADER = ("ROLLOUT", "KIND", "WHO", "BEGUN", "MACHINES", "TO", "TOOK", "WAITED", "OUTCOME")


def plan_text(planned: Planned) -> str:
    """Return a plan as a table, and below it what is in its way; empty where there is nothing to do."""
    plan = planned.plan
    rows = [
        [
            change.machine,
            "canary" if change.machine in plan.canary else str(change.how),
            release_words(change.before, str((change.entry_before or {}).get("image_ref", ""))),
            release_words(change.after, str(change.entry_after.get("image_ref", ""))),
            ", ".join(gate_words(plan.policy(change.machine).gates)),
            "; ".join(change.reasons),
        ]
        for change in plan.changes
    ]
    text = table(PLAN_HEADER, rows) if rows else ""
    text += "".join(f"{line}\n" for line in leader_lines(planned))
    return text + "".join(f"blocked: {completed_quotes(sentence)}\n" for sentence in planned.blocked)


def plan_summary(planned: Planned, machines: int) -> str:
    """Return what a plan does as one sentence."""
    plan = planned.plan
    if planned.nothing:
        return f"nothing to do: {_machines(machines)} as declared"
    parts = []
    for how, words in ((How.REPLACE, "to replace"), (How.RELOAD, "to reload")):
        count = sum(change.how is how for change in plan.changes)
        if count:
            parts.append(f"{_machines(count)} {words}")
    orders = []
    for service, policy in plan.policies.items():
        number = policy.update.parallelism
        at_once = f"{number} at a time" if number else "all at once"
        orders.append(f"{service} {at_once}, on failure {policy.update.failure_action}")
    return f"{', '.join(parts)}; {'; '.join(orders)}"


def _machines(count: int) -> str:
    return f"{count} machine{'' if count == 1 else 's'}"


def release_words(release: Release | None, image: str) -> str:
    """Return a release as people tell it from others: `kafka:4.3.1 3f2a1b2c3d4e/1234567`."""
    if release is None:
        return "-"
    config = release.config_digest.removeprefix("sha256:")[:7]
    return " ".join(filter(None, [image, f"{short_id(release.image_id) or '?'}/{config}"]))


def status_text(row: RolloutHistory, lock: RolloutLock | None) -> str:
    """Return how a rollout is, with a line per machine."""
    lines = [f"{row.id}: {_condition(row, lock)}"]
    lines.append(
        f"{row.kind} by {row.who} on {row.host}, begun {clock(row.started)}, {duration(row.seconds)}"
    )
    if lock is not None and (lock.alive or row.outcome == "running"):
        lines.append(lock.sentence)
    rows = [
        [
            machine.name,
            machine.result,
            release_words(machine.before, machine.image_before),
            release_words(machine.after, machine.image_after),
            duration(sum(machine.seconds.values())) if machine.seconds else "-",
            one_line(machine.failure or _wait_of(row, machine.name), 90),
        ]
        for machine in row.machines
    ]
    return "\n".join(lines) + "\n" + table(STATUS_HEADER, rows)


def _condition(row: RolloutHistory, lock: RolloutLock | None) -> str:
    """Return how a rollout is in words: one that runs without its driver does not run."""
    outcome = f"{row.outcome}: {row.reason}" if row.reason else row.outcome
    if lock is None or lock.alive:
        return outcome
    words = "`stoneware rollout resume` continues, `stoneware rollback` returns what it has changed"
    return completed(f"{'interrupted' if row.outcome == 'running' else outcome}; {words}")


def _wait_of(row: RolloutHistory, machine: str) -> str:
    """Return what a machine waits for at this moment."""
    last = row.waits[-1] if row.waits else None
    if row.outcome != "running" or last is None or machine not in last.machines:
        return ""
    latest = max(last.end, *(wait.end for wait in row.waits))
    # A wait that goes on ends where the whole rollout does, which is now.
    return f"{last.gate}: {last.reason}" if last.end == latest == row.started + row.seconds else ""


def history_text(rows: Sequence[RolloutHistory]) -> str:
    """Return all rollouts as a table, the newest first."""
    cells = []
    for row in reversed(rows):
        images = sorted({machine.image_after for machine in row.machines if machine.image_after})
        done = sum(machine.result in ("done", "returned") for machine in row.machines)
        cells.append(
            [
                row.id,
                row.kind,
                f"{row.who}@{row.host}",
                clock(row.started),
                f"{done}/{len(row.machines)}",
                ", ".join(images) or "-",
                duration(row.seconds),
                duration(row.waited),
                f"{row.outcome}{', finalized' if row.finalized else ''}",
            ]
        )
    return table(HISTORY_HEADER, cells)


def clock(time: float) -> str:
    """Return a time as people write it, in this computer's zone."""
    return datetime.datetime.fromtimestamp(time).astimezone().isoformat(sep=" ", timespec="seconds")


class RolloutDisplay(Observer, cluster_events.Reporter, AbstractContextManager[Any], Protocol):
    """Shows a rollout; entered before the first event and left after the last."""

    def planned(self, planned: Planned, machines: int) -> None:
        """Show what is going to be done."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """Leave the terminal to a question for a while."""
        ...


class QuietRollout(Lines):
    """A display that shows nothing."""

    def planned(self, planned: Planned, machines: int) -> None:
        """Show nothing."""

    def event(self, event: Event, state: RolloutState) -> None:
        """Show nothing."""

    def waiting(self, machines: Sequence[str], answer: Answer, elapsed: float, limit: float) -> None:
        """Show nothing."""

    @contextlib.contextmanager
    def aside(self) -> Any:
        """Nothing is in the way of a question."""
        yield


class JsonRollout(QuietRollout):
    """One JSON object per line of the journal: `event`, `time`, `rollout`, the event's own fields."""

    def event(self, event: Event, state: RolloutState) -> None:  # noqa: ARG002
        """Write the event."""
        document = {"event": event.name, "time": event.time, "rollout": event.rollout, **event.fields}
        self.say([json_text(document)])


class PlainRollout(QuietRollout):
    """A line for each thing that happens: `kafka-1: stopping`."""

    def planned(self, planned: Planned, machines: int) -> None:
        """Write the plan."""
        self.say([*plan_text(planned).splitlines(), plan_summary(planned, machines), *planned.notes])

    def event(self, event: Event, state: RolloutState) -> None:
        """Write the event's lines."""
        self.say(event_lines(event, state))

    def emit(self, event: cluster_events.Event) -> None:
        """Write what Terraform says, and remarks."""
        self.say(remark_lines(event))


def event_lines(event: Event, state: RolloutState) -> list[str]:
    """Return a line of the journal as lines for people."""
    names = [str(name) for name in event.fields.get("machines", ())]
    reason = str(event.fields.get("reason", ""))
    told = {
        "gate": f"{', '.join(names)}: waits for {event.fields.get('gate')}: {reason}",
        "failed": f"FAILED: {reason}",
        "rollback": f"going back: {reason}",
        "paused": f"paused: {reason}",
        "held": f"{', '.join(names)}: {reason}",
    }
    if event.name in told:
        turned = ["going back"] if event.fields.get("action") == "rollback" else []
        return [told[event.name], *turned]
    if event.name in ("resumed", "ended", "note"):
        return []
    return [f"{name}: {stage_words(event.name, name, state)}" for name in names]


def stage_words(stage: str, machine: str, state: RolloutState) -> str:
    """Return what a stage means for a machine."""
    back = state.machines[machine].direction is Direction.BACK
    reloads = state.plan.change(machine).how is How.RELOAD
    words = {
        "pending": "to come",
        "stopping": "stopping",
        "applying": "taking the new configuration on" if reloads else "replacing",
        "waiting": "waiting until it is healthy",
        "monitoring": "healthy, watched",
        "done": "returned" if back else "done",
        "failed": "failed",
    }.get(stage, stage)
    return f"{words}, on the way back" if back and stage not in ("done", "failed") else words
