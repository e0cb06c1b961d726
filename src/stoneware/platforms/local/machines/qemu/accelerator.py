"""Whether this computer's processor can run virtual machines itself (KVM): found out once, by booting one.

That there is a /dev/kvm says little: nested in another machine it may not run a stock kernel, or never end.
So a copy of a machine's own disk boots, without a network, for a limited time. What came out is known until
this computer boots again, or has another QEMU.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.files import locked, read_json, write_atomic, write_json
from stoneware.platforms.local.machines.qemu import launcher
from stoneware.platforms.local.machines.qemu.disks import clone, furnish
from stoneware.platforms.local.machines.qemu.hardware import DEFAULT_MEMORY, PROGRAM, launch_settings
from stoneware.platforms.local.store.store import Store
from stoneware.process_identity import boot_id
from stoneware.scratch import scratch_directory

KVM, TCG = "kvm", "tcg"
_DEVICE = Path("/dev/kvm")
_TIMEOUT = 25.0  # seconds; with KVM a kernel has started its first process after two
# What a kernel and the first process say once user programs run.
_UP = (b"Begin: Running /scripts/", b"Run /init as init", b"systemd[1]", b"Welcome to ", b"login:")
_KEPT = 1 << 16  # bytes of a console that are looked at


@dataclass(frozen=True)
class Accelerator:
    """What runs a machine's instructions; `why` it is not KVM, where it is not."""

    name: str
    why: str = ""


def choose(store: Store, disk: Path) -> Accelerator:
    """Return what runs machines here; a copy of a disk boots where that is not known yet."""
    wanted = os.environ.get("STONEWARE_VM_ACCELERATOR", "")
    if wanted in (KVM, TCG):
        return Accelerator(wanted, "STONEWARE_VM_ACCELERATOR says so" if wanted == TCG else "")
    if not _DEVICE.exists():
        return Accelerator(TCG, f"there is no {_DEVICE}")
    record = store.home / "run" / "accelerator.json"
    record.parent.mkdir(exist_ok=True)
    # One command tries it; others that start machines meanwhile wait for what comes out.
    with locked(store.home / "locks" / "accelerator.lock"):
        known = _known(record)
        if known is None:
            known = _try(store, disk)
            write_json(record, {**_circumstances(), "name": known.name, "why": known.why})
    return known


def known(store: Store) -> str:
    """Return what runs machines here as far as that is known: KVM only where a machine has booted with it."""
    wanted = os.environ.get("STONEWARE_VM_ACCELERATOR", "")
    if wanted in (KVM, TCG):
        return wanted
    found = _known(store.home / "run" / "accelerator.json") if _DEVICE.exists() else None
    return found.name if found else TCG


def _circumstances() -> dict[str, Any]:
    """Return what another answer may be due to."""
    program = process.which(PROGRAM)
    return {"boot": boot_id(), "program": program.stat().st_mtime if program else 0.0}


def _known(record: Path) -> Accelerator | None:
    with contextlib.suppress(ValueError, KeyError):
        found = read_json(record)
        if found and all(found.get(key) == value for key, value in _circumstances().items()):
            return Accelerator(str(found["name"]), str(found["why"]))
    return None


def _try(store: Store, disk: Path) -> Accelerator:
    """Boot a copy of a disk with KVM and see how far that comes."""
    with store.staging(store.data / "machines") as staged, scratch_directory("stoneware-probe-") as run:
        furnish(staged / "disk", functools.partial(clone, disk))
        said, code = _boot(_settings(staged / "disk", run), run)
    if any(words in said for words in _UP):
        return Accelerator(KVM)
    last = said.decode(errors="replace").strip().splitlines()[-1:]
    if code is None:
        return Accelerator(TCG, f"with {_DEVICE} a kernel does not start in {_TIMEOUT:.0f} seconds")
    return Accelerator(TCG, f"QEMU ends with {_DEVICE}: {''.join(last)[:200]}")


def _settings(disks: Path, run: Path) -> str:
    values = {
        "machine_id": "probe",
        "uuid": "5c0d9c3e-0000-4000-8000-000000000000",
        "memory": DEFAULT_MEMORY,
        "cpus": 1,
        "accelerator": KVM,
        "mac": "",
        "mtu": 0,
    }
    return launch_settings(run, disks, values)


def _boot(settings: str, run: Path) -> tuple[bytes, int | None]:
    """Return what came on a machine's console, and QEMU's exit code where it ended by itself."""
    file = run / "qemu.settings"
    write_atomic(file, settings, mode=0o600)
    machine = subprocess.Popen(
        # Where this process is killed it ends by itself.
        ["timeout", "--signal=KILL", str(_TIMEOUT + 5), *launcher.command(os.fspath(file))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=process.tool_environment(),
        # So that the kill below reaches QEMU too, not timeout(1) alone.
        start_new_session=True,
    )
    said, deadline = b"", time.monotonic() + _TIMEOUT
    try:
        stream = machine.stdout.fileno() if machine.stdout else -1
        while (left := deadline - time.monotonic()) > 0 and not any(words in said for words in _UP):
            if select.select([stream], [], [], left)[0]:
                data = os.read(stream, _KEPT)
                if not data:
                    return said, machine.wait()
                said = (said + data)[-_KEPT:]
        return said, machine.poll()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()
        if machine.stdout:
            machine.stdout.close()
