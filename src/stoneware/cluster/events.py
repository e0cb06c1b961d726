"""The events of commands that change a cluster. A display shows them; nothing else there prints."""

from __future__ import annotations

from stoneware.bake.events import EventReporter, Note, Silent, TerraformOutput
from stoneware.cluster.model import ClusterPlan
from stoneware.dataclass import dataclass

__all__ = [
    "Event",
    "MachineFailed",
    "MachineFinished",
    "MachineProgress",
    "MachineStarted",
    "Note",
    "PlanMade",
    "Reporter",
    "ResourceFinished",
    "Silent",
    "TerraformOutput",
]


@dataclass(frozen=True)
class PlanMade:
    """What is going to be done."""

    plan: ClusterPlan


@dataclass(frozen=True)
class ResourceFinished:
    """A network or disk was made or removed. `kind` is network or volume."""

    kind: str
    name: str
    action: str


@dataclass(frozen=True)
class MachineStarted:
    """Something begins with a machine. `action` is as in the plan."""

    name: str
    action: str


@dataclass(frozen=True)
class MachineProgress:
    """A machine went on: its phase, its health, the last line of its console."""

    name: str
    phase: str
    health: str
    line: str = ""


@dataclass(frozen=True)
class MachineFinished:
    """What was to be done with a machine is done. `state` is what it is now: healthy, running, removed."""

    name: str
    action: str
    state: str
    seconds: float


@dataclass(frozen=True)
class MachineFailed:
    """A machine did not get where it was to be."""

    name: str
    phase: str
    reason: str
    seconds: float


Event = (
    PlanMade
    | ResourceFinished
    | MachineStarted
    | MachineProgress
    | MachineFinished
    | MachineFailed
    | Note
    | TerraformOutput
)


Reporter = EventReporter[Event]
