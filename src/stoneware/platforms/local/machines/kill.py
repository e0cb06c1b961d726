"""Ending machines at once, and waiting until nothing of one is left."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from stoneware.errors import MachineError
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines.record import Paths, Processes, known_state, shown_processes
from stoneware.platforms.local.store.errors import DISK_ERRORS
from stoneware.process_identity import boot_id

_POLL = 0.005  # seconds between two looks
COMING_POLL = 0.02  # where there may be a first process soon
_KILL_TIMEOUT = 30.0  # on a busy computer a process takes its time to end
_PATIENCE = 2.0  # seconds for the shim to note the exit code and to take down the port


def kill(paths: Paths) -> None:
    """End a machine at once, and wait until nothing of it is left. Raises MachineError when it stays."""
    # Before anything is killed: with a restart policy the shim would start it again.
    if shown_processes(paths).alive:
        note_stop(paths)
    began = time.monotonic()
    while True:
        processes = shown_processes(paths)
        if not processes.alive:
            _kill_strays(paths)
            return
        _kill_step(processes, patient=time.monotonic() < began + _PATIENCE)
        if time.monotonic() > began + _KILL_TIMEOUT:
            raise MachineError(
                f"the machine {paths.name!r} cannot be ended",
                details=f"Its processes {processes.leader}, {processes.nspawn} and {processes.shim} stay.",
                resolution="see `dmesg`: a process that waits for a dead disk cannot be killed",
            )
        await_end(processes, COMING_POLL)


def end(paths: Paths) -> None:
    """Let nothing run in a machine any more; its processes may still be ending when this returns.

    The first process takes 40 ms to end after a kill, in the kernel, and the others run meanwhile; none does
    that is frozen.
    """
    if has_ended(paths):
        return
    processes = shown_processes(paths)
    if processes.leader is None:
        kill(paths)  # perhaps it is only on its way to a first process
        return
    note_stop(paths)
    group = _payload(paths, processes)
    frozen = group is not None and cgroups.freeze(group)
    _send(processes.leader, signal.SIGKILL)
    if frozen:
        _note(paths, "ended")
    deadline = time.monotonic() + _KILL_TIMEOUT
    while not has_ended(paths):
        leader = shown_processes(paths).leader
        # On a full disk nothing says that it is to stay down.
        if time.monotonic() > deadline or not (leader or (paths.run / "stop").exists()):
            kill(paths)
            return
        if leader:
            _send(leader, signal.SIGKILL)
            _await_process(leader, COMING_POLL)


def has_ended(paths: Paths) -> bool:
    """Say whether nothing runs in a machine any more, and nothing will by itself."""
    processes = shown_processes(paths)
    if not processes.alive:
        return True
    if not (paths.run / "stop").exists():
        return False
    return processes.leader is None or (paths.run / "ended").exists()


def _payload(paths: Paths, processes: Processes) -> Path | None:
    """Return the control group of what runs in a machine, where one is known."""
    try:
        group = (paths.run / "cgroup").read_text().strip()
    except OSError:
        return None
    # As its shim sees it: on a computer with version 1 the other version is mounted for that alone.
    return Path(f"/proc/{processes.shim}/root{group}/{cgroups.PAYLOAD}") if processes.shim and group else None


def note_stop(paths: Paths) -> None:
    """Note that somebody wants the machine to stay down. A full disk must not keep it from stopping."""
    _note(paths, "stop")


def _note(paths: Paths, name: str) -> None:
    try:
        (paths.run / name).touch()
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise


def _kill_strays(paths: Paths) -> None:
    # A shim that was killed before it knew the first process has left that running, in the machine's groups.
    state = known_state(paths)
    if state["id"] and state.get("boot") == boot_id():
        cgroups.kill_left(state["id"], cgroups.probe())


def _kill_step(processes: Processes, *, patient: bool) -> None:
    """Kill the machine's first process, with which all others go; the shim then ends by itself."""
    if processes.leader:
        _send(processes.leader, signal.SIGKILL)
    # Not before: the shim writes the exit code, which it gets from nspawn.
    elif processes.nspawn and (processes.shim is None or not patient):
        _send(processes.nspawn, signal.SIGKILL)
    elif processes.shim and not patient:
        _send(processes.shim, signal.SIGKILL)


def await_end(processes: Processes, seconds: float) -> None:
    """Sleep until the process that ends last has ended, or for so many seconds."""
    last = processes.shim or processes.nspawn or processes.leader
    if last is not None:
        _await_process(last, seconds)


def _await_process(pid: int, seconds: float) -> None:
    """Sleep until a process has ended, or for so many seconds."""
    try:
        # No polling: the kernel wakes us, and a number that was given away again is no danger.
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ends = select.poll()
        ends.register(descriptor, select.POLLIN)
        ends.poll(max(seconds, 0.0) * 1000)
    finally:
        os.close(descriptor)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(done: Callable[[], bool], timeout: float) -> bool:
    """Poll until `done()` or `timeout` seconds have passed; say which."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
