"""Machines whose directory somebody has removed while they ran.

Nothing knows of such a machine any more, but it writes to its disks and has its address and ports. The router
remembers who is attached; a machine without a directory is ended before another one gets what it has.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from stoneware.errors import MachineError
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines import stop as machine_stop
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runners import runners
from stoneware.platforms.local.network import known as known_machines
from stoneware.platforms.local.store.store import Store
from stoneware.process_identity import command_line, descendants, identify, parent, pids

_PATIENCE = 10.0  # seconds for killed processes to go


def end_vanished(store: Store) -> list[str]:
    """End the machines that have no directory, and take back their ports; a sentence for each that still ran.

    Cheap where there are none: some small files are read. Raises MachineError for one that cannot be ended.
    """
    attached = known_machines.known_ids(store)
    if not attached:
        return []
    known, unclear = _ids(store)
    lost = sorted(attached - known)
    return [sentence for id in lost if (sentence := _end(store, id, unclear=unclear))]


def _ids(store: Store) -> tuple[set[str], bool]:
    """Return the ids of all machines, and whether there are machines whose id is not known."""
    ids = {
        machine_record.known_state(Paths(path))["id"]
        for path in (store.data / "machines").iterdir()
        if not path.name.startswith(".")
    }
    return ids - {""}, "" in ids


def _end(store: Store, id: str, *, unclear: bool) -> str:
    shims, others = _processes(id)
    name = next(filter(None, (_name(store, pid) for pid in shims)), "")
    if unclear and (not name or (store.data / "machines" / name).exists()):
        return ""  # perhaps it is the one whose records are damaged: `rm -f` ends that
    _kill(id, [*shims, *others])  # the shim first: it would write into the directory of a successor
    strays = cgroups.kill_left(id, cgroups.probe())
    from stoneware.platforms.local.network import router as routers

    # Behind the kill: while it lives it would go on using the address that another machine gets.
    routers.ensure(store).release(id, name)
    cgroups.remove_left([id], cgroups.probe())
    # Where nothing ran there is nothing to tell: a removal takes its machine off the network at any moment.
    if not (shims or others or strays):
        return ""
    return f"ended the machine {name or id}, whose directory has been removed"


def _kill(id: str, found: list[int]) -> None:
    processes = [process for pid in found if (process := identify(pid))]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    def gone() -> bool:  # each of them: the machine's first process outlives systemd-nspawn by a moment
        return not any(process.alive for process in processes)

    if not machine_stop.wait_until(gone, _PATIENCE):
        raise MachineError(
            f"the machine {id}, whose directory has been removed, cannot be ended",
            details=f"It has the processes {', '.join(map(str, found))}.",
            resolution="see `dmesg`: a process that waits for a dead disk cannot be killed",
        )


def _processes(id: str) -> tuple[list[int], list[int]]:
    """Return the shims of a machine; and what its runner has started, with all that that has started."""
    known = runners()
    found = [pid for pid in pids() if any(runner.recognises(command_line(pid), id) for runner in known)]
    shims = [shim for pid in found if (shim := parent(pid)) and _settings(shim) is not None]
    return shims, [*found, *(child for pid in found for child in descendants(pid))]


def _settings(pid: int) -> Path | None:
    """Return the settings that a shim was started with, None for another process."""
    words = command_line(pid)
    return Path(words[-1]) if len(words) > 2 and words[-2].endswith("/shim.sh") else None


def _name(store: Store, pid: int) -> str:
    """Return the name of a shim's machine; nothing where it is another store's."""
    settings = _settings(pid)
    if settings is None or settings.parents[2] != store.data / "machines":
        return ""
    return settings.parents[1].name
