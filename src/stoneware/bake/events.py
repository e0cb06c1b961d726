"""The events of a bake. A reporter shows the events; nothing else in a bake prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from stoneware.dataclass import dataclass

Told_contra = TypeVar("Told_contra", contravariant=True)


@dataclass(frozen=True)
class StageStarted:
    """A stage begins: `total` steps, of which `cached` are taken from checkpoints."""

    stage: str
    base: str
    total: int
    cached: int


@dataclass(frozen=True)
class StepCached:
    """A step's checkpoint was there."""

    stage: str
    index: int
    total: int
    line: int
    text: str


@dataclass(frozen=True)
class StepStarted:
    """A step begins to run in the builder."""

    stage: str
    index: int
    total: int
    line: int
    text: str
    reason: str  # why it is not taken from the cache


@dataclass(frozen=True)
class StepOutput:
    """Lines of a step's output, without their line ends."""

    stage: str
    index: int
    texts: Sequence[str]


@dataclass(frozen=True)
class StepFinished:
    """A step succeeded and, where the platform can, its checkpoint is saved."""

    stage: str
    index: int
    seconds: float


@dataclass(frozen=True)
class StepFailed:
    """A step ended with `exit_code`."""

    stage: str
    index: int
    seconds: float
    exit_code: int


@dataclass(frozen=True)
class PhaseStarted:
    """A phase other than a step begins: base, builder, seal, capture, tag."""

    name: str
    text: str


@dataclass(frozen=True)
class PhaseFinished:
    """The phase of that name is over."""

    name: str
    seconds: float


@dataclass(frozen=True)
class CheckResult:
    """A leak check's outcome: pass, fail or skip; `severity` is error or warning."""

    name: str
    severity: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class Note:
    """Something to say that is not progress: a warning, a clean-up, a wait for another bake."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class TerraformOutput:
    """A line that Terraform printed; shown with --verbose."""

    text: str


@dataclass(frozen=True)
class TerminalTaken:
    """Another program has the terminal from here on: a shell in the broken builder."""


@dataclass(frozen=True)
class TerminalReturned:
    """The terminal is ours again."""


Event = (
    StageStarted
    | StepCached
    | StepStarted
    | StepOutput
    | StepFinished
    | StepFailed
    | PhaseStarted
    | PhaseFinished
    | CheckResult
    | Note
    | TerraformOutput
    | TerminalTaken
    | TerminalReturned
)


class EventReporter(Protocol[Told_contra]):
    """Shows the events of a bake, or of a command about a cluster."""

    def emit(self, event: Told_contra, /) -> None:
        """Show one event; may be called from several threads, one at a time."""
        ...


Reporter = EventReporter[Event]


class Silent:
    """Shows nothing."""

    def emit(self, event: object) -> None:
        """Drop the event."""
