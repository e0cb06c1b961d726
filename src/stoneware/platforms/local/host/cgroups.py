"""What control groups this computer has, and how a machine is put into its own."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.model.limits import DEFAULT_PIDS_LIMIT, UNLIMITED

MACHINE = "machine"  # the group below a machine's own that its shim and what that starts are not in
PAYLOAD = f"{MACHINE}/payload"  # systemd-nspawn's name for that of the machine without systemd-nspawn itself
CPU_PERIOD = 100_000  # microseconds; the kernel's own default
_LEAVING, _POLL = 1.0, 0.005  # seconds for killed processes to leave their groups, and between two looks
_FREEZING = 0.2  # seconds; usually less than a thousandth, but a process that waits for a disk comes first
_UNIFIED = Path("/sys/fs/cgroup")
_CONTROLLERS = _UNIFIED / "cgroup.controllers"
# Without it each process that enters a group waits for all processors to have been idle or switched: 10 ms,
# half a dozen times in each boot (Linux 6.0, Documentation/admin-guide/cgroup-v2.rst).
_QUICK = "favordynmods"
_QUICK_SINCE = 6  # Linux


@dataclass(frozen=True)
class HostGroups:
    """How the host's control groups are mounted; `v1` maps a controller to where its hierarchy is.

    `controllers` are those that the host's version 2 has, `options` those that it is mounted with.
    """

    unified: bool
    systemd: bool
    v1: tuple[tuple[str, Path], ...]
    controllers: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MachineGroups:
    """How one machine enters its groups: see the variables of shim.sh.

    `prefix` goes in front of the shim's command where systemd starts it, `v1` are the groups it enters and
    `pids_v1` the one that only the machine itself does (made, with limits set, by `prepare`), `limits` the
    lines it writes into its own cgroup2 group, `options` what it mounts cgroup2 with.
    """

    kind: str  # v1, v2, unit or v1-unit
    prefix: tuple[str, ...] = ()
    v1: tuple[Path, ...] = ()
    pids_v1: Path | None = None
    settings: tuple[tuple[Path, str], ...] = ()
    limits: tuple[str, ...] = ()
    options: str = ""


def probe(
    mountinfo: str | None = None, *, systemd: bool | None = None, controllers: str | None = None
) -> HostGroups:
    """Read from /proc/self/mountinfo how control groups are mounted here; forks nothing."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    unified, v1, flags = False, [], frozenset[str]()
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        (where, mode), (kind, _source, options) = left.split()[4:6], right.split(maxsplit=2)
        if kind == "cgroup2":
            flags = frozenset(options.split(",")) - {"rw", "ro"}
            # On a hybrid host version 2 is mounted elsewhere, without controllers.
            unified = unified or where == str(_UNIFIED)
        if kind == "cgroup" and "ro" not in mode.split(","):  # as in some containers: of no use
            names = options.split(",")
            v1 += [(name, Path(where)) for name in ("memory", "cpu", "pids") if name in names]
    booted = Path("/run/systemd/system").is_dir() if systemd is None else systemd
    if controllers is None:
        controllers = _CONTROLLERS.read_text() if unified else ""
    return HostGroups(unified, booted, tuple(v1), frozenset(controllers.split()), flags)


def plan(
    host: HostGroups, machine_id: str, memory: int | None, cpus: float | None, pids: int = DEFAULT_PIDS_LIMIT
) -> MachineGroups:
    """Say how a machine gets its groups and limits.

    `pids` is -1 for any number; the default holds where this computer can count processes at all.
    Raises HostError for limits it cannot have.
    """
    asked = pids if pids not in (UNLIMITED, DEFAULT_PIDS_LIMIT) else None
    _check_controllers(host, {"memory": memory, "cpu": cpus, "pids": asked})
    if not host.unified:
        # With systemd as well: its own limits would not hold where it is not given the controllers.
        groups = _legacy(host, machine_id, memory, cpus, pids)
        return replace(groups, kind="v1-unit", prefix=_unit(machine_id)) if host.systemd else groups
    count = () if pids == UNLIMITED or "pids" not in host.controllers else (f"{MACHINE}/pids.max {pids}",)
    if host.systemd:
        return MachineGroups("unit", prefix=_unit(machine_id, memory, cpus), limits=count)
    return MachineGroups("v2", limits=(*_unified_limits(memory, cpus), *count))


def controllers(host: HostGroups) -> frozenset[str]:
    """Return what this computer can limit machines in: `memory`, `cpu`, `pids`."""
    return frozenset(host.controllers if host.unified else (name for name, _ in host.v1))


def _check_controllers(host: HostGroups, limits: Mapping[str, float | None]) -> None:
    there = controllers(host)
    for name, wanted in limits.items():
        if wanted is not None and name not in there:
            where = _CONTROLLERS if host.unified else "/proc/self/mountinfo"
            raise HostError(
                f"this computer has no control group for {name}",
                details=f"There is no {name} controller in {where}.",
                resolution="run the machine without that limit",
            )


def _unit(machine_id: str, memory: int | None = None, cpus: float | None = None) -> tuple[str, ...]:
    """Return the command that has systemd run a shim.

    As a service, not a scope: at a shutdown the shim alone is asked to end then, and powers its machine off.
    """
    properties = [
        f"Description=Stoneware machine {machine_id}",
        # Delegate: the groups below are the shim's to make. mixed: at the end SIGTERM goes to the shim alone.
        "Delegate=yes",
        "KillMode=mixed",
        "OOMPolicy=continue",  # a process that ran out of memory in a machine is the machine's own affair
        "TasksMax=infinity",  # the machine has its limit in a group below, and its shim none
        "After=network.target",
    ]
    if memory is not None:
        properties += [f"MemoryMax={memory}", "MemorySwapMax=0"]
    if cpus is not None:
        # systemd refuses 0 %.
        properties.append(f"CPUQuota={max(1, round(cpus * 100))}%")
    flags = [f"--property={text}" for text in properties]
    unit = f"--unit=stoneware-{machine_id}"
    # --collect: a unit that has failed is forgotten too, and its name is free for the next start.
    return ("systemd-run", "--quiet", "--collect", "--slice=machine.slice", unit, *flags)


def _unified_limits(memory: int | None, cpus: float | None) -> tuple[str, ...]:
    lines = [] if memory is None else [f"memory.max {memory}", "memory.swap.max 0"]
    if cpus is not None:
        lines.append(f"cpu.max {round(cpus * CPU_PERIOD)} {CPU_PERIOD}")
    return tuple(lines)


def _legacy(
    host: HostGroups, machine_id: str, memory: int | None, cpus: float | None, pids: int
) -> MachineGroups:
    """Use the v1 hierarchies: a machine leaves its creator's groups even where it has no limits."""
    where = dict(host.v1)
    groups = {name: root / "stoneware" / machine_id for name, root in where.items()}
    settings: list[tuple[Path, str]] = []
    if memory is not None:
        settings.append((groups["memory"] / "memory.limit_in_bytes", str(memory)))
    if cpus is not None:
        settings.append((groups["cpu"] / "cpu.cfs_period_us", str(CPU_PERIOD)))
        settings.append((groups["cpu"] / "cpu.cfs_quota_us", str(round(cpus * CPU_PERIOD))))
    inner = groups["pids"] / MACHINE if "pids" in groups else None
    if inner is not None and pids != UNLIMITED:
        settings.append((inner / "pids.max", str(pids)))
    # Mounted once more, cgroup2 takes its options from there, for the whole computer.
    options = ",".join(sorted({*host.options, _QUICK}))
    v1 = tuple(dict.fromkeys(groups.values()))
    return MachineGroups("v1", v1=v1, pids_v1=inner, settings=tuple(settings), options=options)


def quicken(host: HostGroups) -> None:
    """Let processes enter groups at once on a host with version 2, if it is new enough."""
    if (
        host.unified
        and _QUICK not in host.options
        and int(os.uname().release.partition(".")[0]) >= _QUICK_SINCE
    ):
        process.run(["mount", "-o", f"remount,{_QUICK}", str(_UNIFIED)], check=False)


def prepare(groups: MachineGroups) -> None:
    """Make a machine's v1 groups and set their limits."""
    for path in (*groups.v1, *filter(None, [groups.pids_v1])):
        path.mkdir(parents=True, exist_ok=True)
    for path, value in groups.settings:
        try:
            path.write_text(value)
        except OSError as error:
            raise HostError(
                f"the limit {path.name} cannot be set to {value}",
                details=str(error),
                resolution="run the machine without that limit",
            ) from error


def remove_left(machine_ids: Sequence[str], host: HostGroups) -> None:
    """Remove the groups of machines that are gone without their shim having done so.

    A process that has been killed may take a moment to leave them.
    """
    deadline = time.monotonic() + _LEAVING
    while left := _groups_of(machine_ids, host):
        for path in left:
            _remove_group(path)
        if not any(path.is_dir() for path in left) or time.monotonic() > deadline:
            return
        time.sleep(_POLL)


def kill_left(machine_id: str, host: HostGroups) -> bool:
    """Kill what still runs in a machine's groups though its shim and systemd-nspawn are gone; say if any did.

    systemd-nspawn that is killed before its shim knows the machine's first process leaves that one behind.
    """
    killed = False
    for path in _groups_of([machine_id], host):
        for above, name in _groups_in(path):
            with contextlib.suppress(OSError):
                descriptor = os.open(f"{name}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=above)
                with os.fdopen(descriptor) as stream:
                    found = stream.read().split()
                for pid in found:
                    if int(pid) != os.getpid():
                        os.kill(int(pid), signal.SIGKILL)
                        killed = True
    return killed


def freeze(group: Path) -> bool:
    """Hold all processes in a group and below it, and say whether they stand still. Killed ones still end."""
    deadline = time.monotonic() + _FREEZING
    try:
        (group / "cgroup.freeze").write_text("1")
        while "frozen 1" not in (group / "cgroup.events").read_text().splitlines():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL / 5)
    except OSError:  # it is gone, or a kernel before Linux 5.2
        return False
    return True


def _groups_of(machine_ids: Sequence[str], host: HostGroups) -> list[Path]:
    roots = {root / "stoneware" for _, root in host.v1}
    # The second is where version 2 is on a hybrid host.
    roots |= {Path("/sys/fs/cgroup/stoneware"), Path("/sys/fs/cgroup/unified/stoneware")}
    return [path for root in roots for name in machine_ids if (path := root / name).is_dir()]


def _remove_group(path: Path) -> None:
    for above, name in _groups_in(path):
        with contextlib.suppress(OSError):  # a process is still leaving
            os.rmdir(name, dir_fd=above)


def _groups_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield a group and all below it, the inner ones first: a descriptor of what it is in, and its name.

    A machine makes groups in its own as deep as it likes, deeper than Python calls itself and than paths go.
    """
    if not path.is_dir():
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    at = os.open(path.parent, flags)
    inner: list[str]
    levels = [("", [path.name])]  # the groups from the outermost to this one, each with what is left in it
    try:
        while True:
            name, left = levels[-1]
            if left:
                with contextlib.suppress(OSError):  # it has gone
                    at = _moved(at, left[-1], flags)
                    levels.append((left[-1], inner := []))
                    inner += _directories(at)
                left.pop()
                continue
            levels.pop()
            if not levels:
                return
            at = _moved(at, "..", flags)
            yield at, name
    finally:
        os.close(at)


def _moved(at: int, name: str, flags: int) -> int:
    there = os.open(name, flags, dir_fd=at)
    os.close(at)
    return there


def _directories(descriptor: int) -> list[str]:
    with os.scandir(descriptor) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def outlive(host: HostGroups, description: str) -> tuple[str, ...]:
    """Return the prefix of a command that must not end with the systemd unit it is started from."""
    if not host.systemd:
        return ()
    flags = ("--scope", "--quiet", "--collect", "--slice=system.slice", f"--description={description}")
    return ("systemd-run", *flags, "--")
