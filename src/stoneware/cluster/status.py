"""What runs where, against what is wanted: one line per machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoneware.cluster.model import Desired, Observed
from stoneware.platform import Health, Phase, PortMapping


@dataclass(frozen=True)
class MachineStatus:
    """One machine: what it is to run, what it runs, and how it is.

    Empty strings stand for what is not known: nothing is `wanted` of a machine that nobody declares, nothing
    is running where `phase` is None. `in_sync` is None where wanted or running is not known. `age` is in
    seconds since the machine was made.
    """

    name: str
    service: str
    image_wanted: str
    image_id_wanted: str
    commit_wanted: str
    config_wanted: str
    image: str
    image_id: str
    commit: str  # empty where it is not known: only that of the wanted image is
    config: str
    in_sync: bool | None
    differences: tuple[str, ...]  # as the plan gives them as reasons
    phase: Phase | None
    health: Health
    checked: bool | None  # whether it has a health check
    ip: str
    ports: tuple[PortMapping, ...]
    age: float | None
    exit_code: int | None
    error: str

    @property
    def well(self) -> bool:
        """Say whether it runs and is not known to be unhealthy or still starting."""
        return self.phase is Phase.RUNNING and self.health in (Health.NONE, Health.HEALTHY)


def status(desired: Desired | None, observed: Observed, now: float) -> list[MachineStatus]:
    """Return every machine that is wanted or there, wanted ones first, in the file's order."""
    raise NotImplementedError


COLUMNS = ("MACHINE", "IMAGE", "COMMIT", "CONFIG", "SYNC", "STATE", "ADDRESS", "PORTS", "AGE")


def status_rows(machines: Sequence[MachineStatus]) -> list[tuple[str, ...]]:
    """Return the cells of a table with COLUMNS, one row per machine."""
    raise NotImplementedError
