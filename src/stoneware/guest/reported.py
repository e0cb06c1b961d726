"""What a machine says of itself: its reports, read and judged together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stoneware.dataclass import dataclass
from stoneware.guest import reports
from stoneware.model.machine import FailedCheck, Health, Phase


@dataclass(frozen=True)
class Reported:
    """What a machine says of itself; `fault` says which of its reports is none."""

    status: reports.Status = field(default_factory=reports.Status)
    health: Health = Health.UNHEALTHY
    fault: str = ""
    failed_check: FailedCheck | None = None
    builds: bool = False  # it is a builder at work

    @property
    def phase(self) -> Phase:
        """Return where a machine that runs is in its life."""
        if self.fault:
            return Phase.FAILED
        if self.status.phase in ("configuring", "running", "failed"):
            return Phase(self.status.phase)
        return Phase.RUNNING if self.builds else Phase.BOOTING

    @property
    def error(self) -> str:
        """Return what is wrong with it, in its own words or in ours."""
        return self.fault or self.status.error


def reported(attributes: Mapping[str, str]) -> Reported:
    """Return what a machine's guest attributes say."""
    # The worst until a report says otherwise: what is no report must not count as healthy.
    status, health, faults, failed = reports.Status(), Health.UNHEALTHY, [], None
    try:
        status = reports.status_of(attributes)
    except reports.InvalidReportError as error:
        faults.append(str(error))
    try:
        said = reports.health_of(attributes)
        health = Health(said.status)
        if said.failing and health is not Health.HEALTHY:
            failed = FailedCheck(said.exit_code, said.failing, said.output)
    except reports.InvalidReportError as error:
        faults.append(str(error))
    return Reported(status, health, "; ".join(faults), failed, reports.BUILD in attributes)
