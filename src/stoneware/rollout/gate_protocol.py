"""What gates say, and the protocol of a gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Protocol

from stoneware.cluster.model import Release
from stoneware.dataclass import dataclass
from stoneware.durations import parse_duration
from stoneware.errors import InputError
from stoneware.rollout.model import Change, MachineView


class Kind(StrEnum):
    """The three verdicts."""

    READY = "ready"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a machine. `progress` (any number) moves while waiting is not in vain."""

    kind: Kind
    reason: str = ""
    progress: float | None = None

    @property
    def ready(self) -> bool:
        """Say whether the gate is open."""
        return self.kind is Kind.READY


READY = Verdict(Kind.READY)


def wait(reason: str, progress: float | None = None) -> Verdict:
    """Return the verdict that time may help."""
    return Verdict(Kind.WAIT, reason, progress)


def stop(reason: str) -> Verdict:
    """Return the verdict that time will not help."""
    return Verdict(Kind.STOP, reason)


class SettingError(InputError):
    """A setting of a gate that makes no sense; `setting` is its key, whose place in the file is told."""

    def __init__(self, brief: str, setting: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief, details=details, resolution=resolution)
        self.setting = setting


def timeout_setting(gate: str, given: Any) -> float:
    """Return a gate's setting `timeout` in seconds. Raises SettingError."""
    try:
        return parse_duration(str(given), f"the {gate} gate's timeout")
    except InputError as error:
        raise SettingError(
            error.brief, "timeout", details=error.details, resolution=error.resolution
        ) from error


@dataclass(frozen=True)
class CommandOutcome:
    """What a command inside a machine came to."""

    code: int
    output: str


@dataclass(frozen=True)
class GateContext:
    """What a gate may look at.

    `views` are all machines of the cluster by short name; `down` those that are taken down in the same batch;
    `unfinished` those that this rollout has still to replace; `change` is that of the machine in question and
    `target` the release it is to have; `returning`: it has failed and goes back. `expected` are all machines
    that the cluster has to have: one of them without a view is gone.
    `execute` runs a command in a machine: (machine, argv, seconds) to its outcome.
    """

    cluster: str
    views: Mapping[str, MachineView]
    change: Change
    execute: Callable[[str, Sequence[str], float], CommandOutcome]
    target: Release | None = None
    down: frozenset[str] = frozenset()
    unfinished: Sequence[str] = ()
    returning: bool = False
    expected: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)  # the gate's own, from the file


@dataclass(frozen=True)
class Leader:
    """The machine that leads, by its short name, and in words what: `leads the metadata quorum`."""

    machine: str
    words: str


class Gate(Protocol):
    """Something that says whether the cluster can do without a machine, and whether a machine is back.

    Gates may raise or hang: the gatekeeper takes both for `wait`, until the time is over. A gate that knows
    of a leader has a method more, `leader(context) -> Leader | None`: plans show it, and no canary is one.
    One that runs commands inside machines says so, by `runs_commands = True`: not every platform can. With a
    static method `commands(settings)`, which returns these, it can be used where machines run what their
    image declares and nothing else.
    """

    name: str

    def before(self, machine: str, context: GateContext) -> Verdict:
        """Say whether the machine may be taken down now."""
        ...

    def after(self, machine: str, context: GateContext) -> Verdict:
        """Say whether the machine is back, and the cluster as good as before."""
        ...

    def order(self, machines: Sequence[str], context: GateContext) -> Sequence[str]:
        """Return the machines in the order they should go, asked again for each (a leader goes last)."""
        ...
