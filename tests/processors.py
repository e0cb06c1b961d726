"""How much of the processors machines get beside all else that tests run, where no systemd says it.

A computer gives the group of all machines together no more than one program, so beside four processes that
test, and what these start, a virtual machine in software would take many times its time: it alone can be the
longest path of a run.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from stoneware.files import locked
from stoneware.platforms.local.host import cgroups

_PROGRAMS = 8  # as many as machines together weigh, and as machines a virtual one among them
_V2 = Path("/sys/fs/cgroup")
_LOCK = Path(tempfile.gettempdir()) / "stoneware-tests-weigh.lock"  # held by runs of tests


def _weight(machine: str = "") -> tuple[Path, int] | None:
    """Return the file that says what all machines weigh, or one, and what one program does."""
    host = cgroups.probe()
    if root := dict(host.v1).get("cpu"):
        return root / "stoneware" / machine / "cpu.shares", 1024
    if host.unified and not host.systemd:
        return _V2 / "stoneware" / machine / "cpu.weight", 100
    return None


@contextlib.contextmanager
def for_machines() -> Iterator[None]:
    """Let machines together weigh as much as several programs; as root only."""
    found = _weight()
    if found is None:
        yield
        return
    file, one = found
    try:
        with locked(_LOCK, shared=True):
            with contextlib.suppress(OSError):
                if one == 100:
                    (_V2 / "cgroup.subtree_control").write_text("+cpu")
                file.parent.mkdir(exist_ok=True)
                file.write_text(str(one * _PROGRAMS))
            yield
    finally:
        with contextlib.suppress(OSError), locked(_LOCK, timeout=0):  # the last run of those that overlap
            file.write_text(str(one))


@contextlib.contextmanager
def for_machine(directory: Path) -> Iterator[None]:
    """Let a machine that is started meanwhile, in that directory, weigh as much as several others."""
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(directory, over))
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(directory: Path, over: threading.Event) -> None:
    while not over.wait(0.1):
        with contextlib.suppress(OSError, ValueError):
            found = _weight(str(json.loads((directory / "state.json").read_text())["id"]))
            if found is not None:
                # Not there yet while the machine is only about to start.
                found[0].write_text(str(found[1] * _PROGRAMS))
            return
