"""What runs where, against what is wanted: one line per machine."""

from __future__ import annotations

from collections.abc import Sequence

from stoneware.cluster.differences import differences, unknown_parts
from stoneware.cluster.model import Desired, DesiredMachine, Observed, ObservedMachine
from stoneware.cluster.plan import is_healthy
from stoneware.cluster.waiting import check_lines
from stoneware.dataclass import dataclass
from stoneware.image.references import short_id
from stoneware.model.field_kinds import port_words
from stoneware.model.labels import SERVICE_LABEL
from stoneware.model.machine import FailedCheck, Health, Phase
from stoneware.model.resources import PortMapping


@dataclass(frozen=True)
class MachineStatus:
    """One machine: what it is to run, what it runs, and how it is.

    Empty strings stand for what is not known: nothing is `wanted` of an undeclared machine, nothing
    is running where `phase` is None. `in_sync` is None where wanted or running is not known; whether the
    machine is up has no part in it. `age` is in seconds since the machine was made.
    """

    name: str
    service: str
    image_wanted: str
    image_id_wanted: str
    commit_wanted: str
    config_wanted: str
    image: str
    image_id: str
    commit: str
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
    healthy: bool = False  # it is up and, where it has a health check, healthy
    failed_check: FailedCheck | None = None


def status(desired: Desired | None, observed: Observed, now: float) -> list[MachineStatus]:
    """Return every machine that is wanted or there, wanted ones first, in the file's order.

    Without `desired` nothing is known to be wanted.
    """
    wanted = desired.machines if desired is not None else {}
    names = [*wanted, *(name for name in observed.machines if name not in wanted)]
    return [_status(name, desired, observed, now) for name in names]


def _status(name: str, desired: Desired | None, observed: Observed, now: float) -> MachineStatus:
    wanted = desired.machines.get(name) if desired else None
    found = observed.machines.get(name)
    in_sync, reasons = _sync(wanted, desired is not None, found, observed)
    machine = found.machine if found else None
    labels = machine.spec.labels if machine else {}
    commits = {**observed.commits, **({wanted.image_id: wanted.commit} if wanted else {})}
    return MachineStatus(
        name=name,
        service=wanted.service if wanted else labels.get(SERVICE_LABEL, ""),
        image_wanted=wanted.image if wanted else "",
        image_id_wanted=wanted.image_id if wanted else "",
        commit_wanted=wanted.commit if wanted else "",
        config_wanted=wanted.config_digest if wanted else "",
        image=machine.image if machine else "",
        image_id=machine.image_id if machine else "",
        commit=commits.get(machine.image_id, "") if machine else "",
        config=machine.config_digest if machine else "",
        in_sync=in_sync,
        differences=reasons,
        phase=machine.phase if machine else None,
        health=machine.health if machine else Health.NONE,
        checked=wanted.checked if wanted else None,
        ip=machine.ip if machine else "",
        ports=machine.ports if machine else (),
        age=max(now - machine.created, 0.0) if machine else None,  # the clock may have been set since
        exit_code=machine.exit_code if machine else None,
        error=machine.error if machine else "",
        healthy=machine is not None and is_healthy(machine),
        failed_check=machine.failed_check if machine else None,
    )


def _sync(
    wanted: DesiredMachine | None, declared: bool, found: ObservedMachine | None, observed: Observed
) -> tuple[bool | None, tuple[str, ...]]:
    if wanted is None:
        return (False, ("no file declares this machine",)) if declared else (None, ())
    if found is None:
        return False, ("is not there",)
    reasons = tuple(item.reason for item in differences(wanted, found.machine, observed.commits))
    unknown = tuple(unknown_parts(wanted))
    return (False if reasons else None if unknown else True), (*reasons, *unknown)


COLUMNS = ("MACHINE", "IMAGE", "COMMIT", "CONFIG", "SYNC", "STATE", "ADDRESS", "PORTS", "AGE")
_SYNC = {True: "yes", False: "no", None: "?"}


def status_rows(machines: Sequence[MachineStatus]) -> list[tuple[str, ...]]:
    """Return the cells of a table with COLUMNS, one row per machine; `running → wanted` where they differ."""
    return [
        (
            machine.name,
            _pair(machine.image or short_id(machine.image_id), machine.image_wanted),
            _pair(machine.commit[:7], machine.commit_wanted[:7]),
            _pair(machine.config[7:14], machine.config_wanted[7:14]),  # behind `sha256:`
            _SYNC[machine.in_sync],
            state_words(machine.phase, machine.health, machine.exit_code),
            machine.ip or "-",
            ", ".join(port_words(port) for port in machine.ports) or "-",
            "-" if machine.age is None else short_age(machine.age),
        )
        for machine in machines
    ]


def unhealthy_lines(machines: Sequence[MachineStatus]) -> list[str]:
    """Return what machines say that are not well: their error, or the output of their health check."""
    lines = []
    for machine in machines:
        said = check_lines(machine.failed_check)
        said += [f"  {line}" for line in machine.error.splitlines() if line.strip()]
        if said and not machine.healthy:
            state = state_words(machine.phase, machine.health, machine.exit_code)
            lines += ["", f"{machine.name} is {state}:", *said]
    return lines


def _pair(running: str, wanted: str) -> str:
    if running == wanted or not wanted:
        return running or "-"
    return f"{running or '-'} → {wanted}"


def state_words(phase: Phase | None, health: Health, exit_code: int | None) -> str:
    """Return how a machine is: `running (healthy)`, `stopped (137)`, `missing`."""
    if phase is None:
        return "missing"
    if phase is Phase.RUNNING and health is not Health.NONE:
        return f"{phase} ({health})"
    return f"{phase} ({exit_code})" if exit_code is not None else str(phase)


def short_age(seconds: float) -> str:
    """Return an age in one unit: `12s`, `5m`, `3h`, `9d`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        # From two of a unit on, or 119 seconds would be one minute.
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def summary(machines: Sequence[MachineStatus]) -> str:
    """Return one sentence about all machines: `3 machines: 2 healthy, 1 not; 1 differs from …`."""
    healthy = sum(machine.healthy for machine in machines)
    count = len(machines)
    text = f"{count} machine{'s' * (count != 1)}: {healthy} healthy, {count - healthy} not"
    different = sum(machine.in_sync is False for machine in machines)
    unknown = sum(machine.in_sync is None for machine in machines)
    text += f"; {different} differ{'s' * (different == 1)} from what is wanted" if different else ""
    return text + (f"; of {unknown} it is not known" if unknown else "")
