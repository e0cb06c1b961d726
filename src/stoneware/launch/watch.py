"""Watching a machine: its console as it grows, and the moment when it is up, healthy or gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from stoneware.errors import InputError, MachineError
from stoneware.model.machine import CLUSTER_LABEL, Health, Machine, Phase
from stoneware.platforms.protocols import Platform

POLL = 0.02  # seconds between two looks: an observation reads a few small files
_TAIL_LINES, _TAIL_BYTES = 12, 16 << 10
_OVER = (Phase.STOPPED, Phase.DAMAGED)


# Labels that machines of a cluster have.
CLUSTER, _SERVICE, _SHORT = CLUSTER_LABEL, "stoneware.service", "stoneware.machine"


def _nowhere() -> str:
    return ""


def find_machine(platform: Platform, name: str, *, prefer: Callable[[], str] = _nowhere) -> Machine:
    """Return the machine of a name, an id, a unique prefix of it, or of a short name in a cluster.

    A service's name stands for its machine where it has one. Where clusters share a short name, the one that
    `prefer` returns is meant. Raises InputError.
    """
    found = platform.observe(name)
    if found is not None:
        return found
    machines = platform.machines()
    hits = [machine for machine in machines if len(name) >= 3 and machine.id.startswith(name)]
    if len(hits) != 1:
        hits = labelled(machines, name, prefer=prefer)
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise InputError(
            f"{name!r} is not one machine",
            details=f"There are: {', '.join(machine.name for machine in hits)}.",
            resolution="name one of them",
        )
    raise InputError(
        f"there is no machine {name!r}",
        details=f"There are: {', '.join(machine.name for machine in machines)}." if machines else "",
        resolution="stoneware ps -a",
    )


def labelled(
    machines: Sequence[Machine], name: str, *, prefer: Callable[[], str] = _nowhere
) -> list[Machine]:
    """Return the machines of a short name, or of a service; in the preferred cluster where it has some."""
    for label in (_SHORT, _SERVICE):
        hits = [machine for machine in machines if machine.spec.labels.get(label) == name]
        if len({machine.spec.labels.get(CLUSTER) for machine in hits}) > 1:
            here = prefer()
            hits = [machine for machine in hits if machine.spec.labels.get(CLUSTER) == here] or hits
        if hits:
            return hits
    return []


def short_name(machine: Machine) -> str:
    """Return what a machine is called in its cluster; its name where it is in none."""
    return machine.spec.labels.get(_SHORT) or machine.name


def in_cluster(machines: Sequence[Machine], cluster: str) -> list[Machine]:
    """Return the machines of a cluster."""
    return [machine for machine in machines if machine.spec.labels.get(CLUSTER) == cluster]


def follow_pieces(
    platform: Platform, name: str, offset: int = 0, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[bytes, int]]:
    """Yield the console's output from `offset` on as it comes, each piece with the offset behind it.

    It ends once the machine is stopped or gone.
    """
    while True:
        machine = platform.observe(name)
        while machine is not None:
            try:
                data, offset = platform.console(name, offset)
            except InputError:
                return  # it was removed between the two looks
            if not data:
                break
            yield data, offset
        if machine is None or machine.phase in _OVER:
            return
        sleep(POLL)


def follow_consoles(
    platform: Platform, offsets: Mapping[str, int], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, bytes, int]]:
    """Yield what the consoles of several machines print, and the offset behind it, until all stopped."""
    following = dict(offsets)
    while following:
        for name in list(following):
            machine = platform.observe(name)
            try:
                data, following[name] = platform.console(name, following[name])
            except InputError:  # it was removed
                data = b""
            if data:
                yield name, data, following[name]
            elif machine is None or machine.phase in _OVER:
                del following[name]
        sleep(POLL)


def wait_until_up(
    platform: Platform,
    name: str,
    *,
    timeout: float,
    health: bool = False,
    settle: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Machine:
    """Return the machine once it runs (and, with `health`, its health check has passed).

    Without `health` it must go on running for `settle` seconds: a service that ends at once was not up.
    Raises MachineError with the end of its console when it fails, stops, is unhealthy, or `timeout`
    seconds have passed.
    """
    deadline = clock() + timeout
    running: tuple[float, float | None] | None = None  # since when it runs, and which of its starts that is
    while True:
        machine = platform.observe(name)
        if machine is None:
            raise MachineError(f"the machine {name} is gone", resolution="stoneware ps -a")
        if running is not None and (machine.phase is not Phase.RUNNING or machine.started != running[1]):
            raise _ended(platform, machine, clock() - running[0])
        if machine.phase is Phase.FAILED or machine.phase in _OVER:
            raise _not_up(platform, machine, f"the machine {name} failed to start")
        if machine.phase is Phase.RUNNING:
            # An image with a health check is `none` as well, until the first result is reported.
            if health and machine.health is Health.HEALTHY:
                return machine
            if not health:
                now = clock()
                running = running or (now, machine.started)
                if now - running[0] >= settle:
                    return machine
            if machine.health is Health.UNHEALTHY:
                raise _not_up(platform, machine, f"the machine {name} is unhealthy")
        if running is None and clock() >= deadline:
            goal = "healthy" if health else "running"
            raise _not_up(platform, machine, f"the machine {name} was not {goal} within {timeout:g} seconds")
        sleep(POLL)


def wait_until_stopped(platform: Platform, name: str, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Wait for a machine to stop and return its exit code (0 when it has none, or was removed)."""
    while True:
        machine = platform.observe(name)
        if machine is None:
            return 0
        if machine.phase in _OVER:
            return machine.exit_code or 0
        sleep(POLL)


def console_tail(platform: Platform, name: str, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a machine's console as text."""
    data, _ = platform.console(name, platform.console_place(name, lines=lines))
    text = data[-_TAIL_BYTES:].decode(errors="replace").replace("\r", "")
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])


def _ended(platform: Platform, machine: Machine, seconds: float) -> MachineError:
    code = f" (exit code {machine.exit_code})" if machine.exit_code is not None else ""
    hows = {Phase.FAILED: "failed", Phase.STOPPED: f"stopped{code}", Phase.STOPPING: "stopped"}
    how = hows.get(machine.phase, "was started again")
    brief = f"the machine {machine.name} was up for {max(seconds, 0.1):.1f} seconds only, then it {how}"
    return _not_up(platform, machine, brief)


def _not_up(platform: Platform, machine: Machine, brief: str) -> MachineError:
    parts = [*machine.condition, console_tail(platform, machine.name)]
    return MachineError(
        brief,
        details="\n".join(part for part in parts if part),
        resolution=f"stoneware logs {machine.name}",
    )
