"""What a rollout is: which machines go from what to what, by which rules. Frozen; the journal holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from functools import cached_property
from typing import Any

from stoneware.cluster.model import Release
from stoneware.compose.model import UpdateConfig
from stoneware.dataclass import dataclass
from stoneware.model.machine import Health, Phase
from stoneware.model.resources import PortMapping

GATE_TIMEOUT = 300.0  # seconds without progress before waiting is given up; Strimzi's operation timeout


class Direction(StrEnum):
    """Which way a machine goes."""

    FORWARD = "forward"
    BACK = "back"


class How(StrEnum):
    """What is done to a machine."""

    REPLACE = "replace"
    RELOAD = "reload"  # another configuration, which its image takes on while it runs


@dataclass(frozen=True)
class Change:
    """One machine's way from what it has to what it is to have.

    `before` is None where the machine is missing. The entries are its part of Terraform's variables; they
    hold no secrets.
    """

    machine: str  # short name
    service: str
    before: Release | None
    after: Release
    how: How
    reasons: tuple[str, ...]
    entry_before: Mapping[str, Any] | None
    entry_after: Mapping[str, Any]

    def release(self, direction: Direction) -> Release | None:
        """Return the release it goes to."""
        return self.after if direction is Direction.FORWARD else self.before

    def entry(self, direction: Direction) -> Mapping[str, Any] | None:
        """Return the entry that makes it go there."""
        return self.entry_after if direction is Direction.FORWARD else self.entry_before


@dataclass(frozen=True)
class Policy:
    """How the machines of a service are replaced.

    `gates` are `{NAME: settings}` each, checked. `finalize_after` is how long a release has to run before the
    point of no return.
    """

    update: UpdateConfig = field(default_factory=UpdateConfig)
    rollback: UpdateConfig = field(default_factory=UpdateConfig)
    gates: tuple[Mapping[str, Any], ...] = ()
    gate_timeout: float = GATE_TIMEOUT  # seconds
    finalize_after: float = 0.0  # seconds

    def config(self, direction: Direction) -> UpdateConfig:
        """Return what holds on the way forward, or back."""
        return self.update if direction is Direction.FORWARD else self.rollback


@dataclass(frozen=True)
class RolloutPlan:
    """All changes in the order of their services; within a service the order is chosen machine by machine.

    `policies` is by service. `canary` are machines that go first; then the rollout holds. `insisted`: also
    where one of them leads. `machines` are all that the cluster has to have, also those that do not change.
    """

    cluster: str
    changes: tuple[Change, ...]
    policies: Mapping[str, Policy]
    canary: tuple[str, ...] = ()
    insisted: bool = False
    machines: tuple[str, ...] = ()

    def change(self, machine: str) -> Change:
        """Return a machine's change."""
        return self._by_machine[machine]

    @cached_property
    def _by_machine(self) -> dict[str, Change]:
        return {change.machine: change for change in self.changes}

    def policy(self, machine: str) -> Policy:
        """Return the policy of a machine's service."""
        return self.policies[self.change(machine).service]


@dataclass(frozen=True)
class MachineView:
    """A machine as a rollout sees it.

    `release` None: it has not said yet what it runs. `made` is what it was made to run, whatever it says. A
    machine that was replaced has another `id`.
    """

    name: str
    service: str
    slot: int
    id: str
    phase: Phase
    health: Health
    release: Release | None
    checked: bool  # its image has a health check
    error: str = ""  # in one line, or what its health check that fails says
    ip: str = ""
    ports: tuple[PortMapping, ...] = ()
    created_from: Release | None = None

    @property
    def healthy(self) -> bool:
        """Say whether it runs and is healthy, as far as its image can tell."""
        # Where there is a health check, `none` is only until its first result.
        return self.phase is Phase.RUNNING and self.health in (
            (Health.HEALTHY,) if self.checked else (Health.NONE, Health.HEALTHY)
        )

    @property
    def alive(self) -> bool:
        """Say whether anything of it runs that could be missed."""
        return self.phase in (Phase.BOOTING, Phase.CONFIGURING, Phase.RUNNING)
