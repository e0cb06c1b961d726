"""How a change of a cluster is shown: plain lines, JSON lines, nothing, or the live view on a terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO

from stoneware.cluster import events
from stoneware.cluster.model import Action, ClusterPlan
from stoneware.ui.progress import Lines, remark_lines
from stoneware.ui.text import duration, table

PLAN_HEADER = ("ACTION", "KIND", "NAME", "WHY")


class ClusterDisplay(events.Reporter, AbstractContextManager[Any], Protocol):
    """A reporter that is entered before the first event and left after the last."""


def plan_text(plan: ClusterPlan, *, every: bool = True) -> str:
    """Return a plan as a table; `every`: with the steps that do nothing. Empty for no rows."""
    steps = plan.steps if every else plan.changes
    rows = [[str(step.action), step.kind, step.name, "; ".join(step.reasons)] for step in steps]
    return table(PLAN_HEADER, rows) if rows else ""


_WORDS = (
    (Action.CREATE, "to create"),
    (Action.REPLACE, "to replace"),
    (Action.UPDATE, "to update"),
    (Action.START, "to start"),
    (Action.ADOPT, "to adopt"),
    (Action.REMOVE, "to remove"),
)


def plan_summary(plan: ClusterPlan) -> str:
    """Return what a plan does as one sentence: `2 machines to create, 1 network to create`."""
    parts = []
    for action, words in _WORDS:
        for kind in ("machine", "network", "volume"):
            count = sum(step.action is action and step.kind == kind for step in plan.changes)
            if count:
                parts.append(f"{count} {kind}{'' if count == 1 else 's'} {words}")
    machines = sum(step.kind == "machine" for step in plan.steps)
    if not parts:
        return f"nothing to do: {machines} machine{'' if machines == 1 else 's'} as declared"
    return ", ".join(parts)


class PlainDisplay(Lines):
    """A line for each thing that happens: `kafka-1  running, starting`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._states: dict[str, str] = {}

    def emit(self, event: events.Event) -> None:
        """Write the event's lines."""
        self.say(self._lines(event))

    def _lines(self, event: events.Event) -> list[str]:
        match event:
            case events.PlanMade(plan):
                return plan_text(plan, every=False).splitlines()
            case events.MachineStarted(name, action):
                return [f"{name}: {action}"]
            case events.MachineProgress(name, phase, health, _):
                return self._progress(name, state_text(phase, health))
            case events.MachineFinished(name, _, state, seconds):
                return [f"{name}: {state} ({duration(seconds)})"]
            case events.MachineFailed(name, _, reason, seconds):
                return [f"{name}: FAILED: {reason} ({duration(seconds)})"]
        return other_lines(event)

    def _progress(self, name: str, state: str) -> list[str]:
        if self._states.get(name) == state:  # only its console went on
            return []
        self._states[name] = state
        return [f"{name}: {state}"]


def state_text(phase: str, health: str) -> str:
    """Return phase and health in words: `running, healthy`; without a health check the phase alone."""
    return phase if health in ("none", "") else f"{phase}, {health}"


def other_lines(event: events.Event) -> list[str]:
    """Return what is said besides the machines, as lines."""
    match event:
        case events.ResourceFinished(kind, name, action):
            return [f"{kind} {name}: {action}"]
    return remark_lines(event)
