"""Virtual machines: until QEMU runs, the boot beside the same disk by hand, memory, and a line changed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.examples.virtual_machines import Metadata, served

from bench import image_builder
from bench.harness import Row, Section, interleave, ratio, timed_rows
from bench.place import Place, copied_context

BEGINS = "second run --vm: from the command to QEMU"
HEALTHY = "from QEMU to healthy"
BY_HAND = "the same disk and QEMU line by hand"
CHANGED = "a line changed, to a raw disk"
BUILDER = "the same with diskimage-builder"
_NAME = "bench-vm"
_VALUES = ("-e", "GREETING=hi")
_PATIENCE = 600.0
_LOOK = 0.02  # seconds between two looks at what runs


def measure(place: Place, repeats: int) -> Section:
    """Measure the image hello, of which a disk is there already."""
    place.hello()
    from stoneware.platforms.local.machines.qemu.accelerator import known

    place.cli("run", "--vm", "-d", "--name", _NAME, *_VALUES, "hello")  # its kernel and its disk, once
    place.cli("rm", "-f", _NAME)
    accelerator = known(place.store())
    begins: list[float] = []
    memory: list[float] = []
    samples = interleave(
        {HEALTHY: lambda _: _machine(place, begins, memory), BY_HAND: lambda _: _by_hand(place, accelerator)},
        repeats,
    )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        changes, builder_note = _changes(place, Path(scratch), repeats)
    rows = [
        *timed_rows({BEGINS: begins}, {BEGINS: 0.5}),
        *timed_rows(samples),
        ratio(samples, HEALTHY, BY_HAND, 1.3),
        Row("memory of QEMU for a machine of 1 GiB, healthy", statistics.median(memory), "MiB"),
        *timed_rows(changes),
        *([ratio(changes, BUILDER, CHANGED, 10, at_least=True)] if BUILDER in changes else []),
    ]
    return Section("vm", "Virtual machines", tuple(rows), (*_notes(accelerator), builder_note))


def _notes(accelerator: str) -> tuple[str, ...]:
    return (
        f"The image hello, with {accelerator}. QEMU is looked for every {_LOOK * 1000:.0f} ms.",
        "By hand: a copy of the same disk and QEMU line but for the network; the tests' metadata server.",
        "Memory: the proportional share of QEMU's pages, as smaps_rollup tells.",
        "A line changed: another image, baked and exported; its kernel is that of the image before.",
        "Not compared: mkosi. Debian 12 has version 14 only, and no current one is on PATH.",
    )


def _machine(place: Place, begins: list[float], memory: list[float]) -> float:
    """Run a machine until it is healthy; return the seconds since QEMU was there."""
    seen: list[tuple[float, int]] = []
    over = threading.Event()
    before = set(_machines())

    def look() -> None:
        while not seen and not over.wait(_LOOK):
            seen.extend((time.perf_counter(), pid) for pid in _machines() if pid not in before)

    looking = threading.Thread(target=look)
    started = time.perf_counter()
    looking.start()
    try:
        place.cli(
            "run",
            "--vm",
            "-d",
            "--wait",
            "--timeout",
            str(int(_PATIENCE)),
            "--name",
            _NAME,
            *_VALUES,
            "hello",
        )
        ended = time.perf_counter()
        memory.append(_share(seen[0][1]))
    finally:
        over.set()
        looking.join()
        place.cli("rm", "-f", _NAME)
    begins.append(seen[0][0] - started)
    return ended - seen[0][0]


def _machines() -> Iterator[int]:
    """Yield the processes that are QEMU already."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().startswith("qemu-system-"):
                yield int(path.parent.name)


def _share(pid: int) -> float:
    """Return the MiB of memory that are a process's own share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _by_hand(place: Place, accelerator: str) -> float:
    """Boot a copy of the same disk with the same line; return the seconds until it is healthy."""
    with tempfile.TemporaryDirectory(dir=place.home / "data") as scratch, contextlib.ExitStack() as held:
        directory = Path(scratch)
        _furnish(place, directory)
        metadata = Metadata({"stoneware-config": "GREETING=hi\n"})
        port = held.enter_context(served(metadata))
        argv, passed = _line(directory, accelerator, port, held)
        started = time.perf_counter()
        machine = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=passed,
        )  # fmt: skip
        try:
            while metadata.reported("health").get("status") != "healthy":
                if machine.poll() is not None or time.perf_counter() - started > _PATIENCE:
                    raise SystemExit("bench: the disk does not come up by hand")
                time.sleep(_LOOK)
            return time.perf_counter() - started
        finally:
            machine.kill()
            machine.wait()
            metadata.changed.set()


def _furnish(place: Place, directory: Path) -> None:
    from stoneware.platforms.local.disks.disks import copy_disk
    from stoneware.platforms.local.host.firmware import FIRMWARE_VARIABLES
    from stoneware.platforms.local.machines.qemu import disks
    from stoneware.platforms.local.platform import LocalPlatform

    store = place.store()
    image = store.tags()["hello:latest"]
    copy_disk(store, LocalPlatform(store), image, directory / disks.ROOT, lambda _: None, agent=True)
    shutil.copyfile(FIRMWARE_VARIABLES, directory / disks.FIRMWARE)


def _line(
    directory: Path, accelerator: str, port: int, held: contextlib.ExitStack
) -> tuple[list[str], tuple[int, ...]]:
    """Return the line of a machine with a network of QEMU's own, and the descriptors in it."""
    from stoneware.platforms.local.machines.qemu import hardware

    sockets: dict[str, int] = {}
    for name in hardware.socket_names():
        listener = held.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(directory / name))
        listener.listen()
        sockets[name] = listener.fileno()
    values: dict[str, Any] = {"mac": "52:54:00:00:00:01", "mtu": 1500, "tap": 0, "sockets": sockets}
    values |= {"memory": hardware.DEFAULT_MEMORY, "cpus": hardware.DEFAULT_CPUS, "accelerator": accelerator}
    uuid = "5c0d9c3e-0000-4000-8000-000000000001"
    argv = hardware.command_line(hardware.Hardware(machine_id="bench", uuid=uuid, **values))
    network = "user,id=port,net=169.254.0.0/16,dhcpstart=169.254.0.15"
    network += f",guestfwd=tcp:169.254.169.254:80-cmd:busybox nc 127.0.0.1 {port}"
    words = [network if word.startswith("tap,") else word for word in argv]
    words = [word.replace("/disks/", f"{directory}/") for word in words]
    sandbox = words.index("-sandbox")  # this network starts a program
    return [*words[:sandbox], *words[sandbox + 2 :]], tuple(sockets.values())


# -- a line changed ------------------------------------------------------------------------------------------


def _changes(place: Place, scratch: Path, repeats: int) -> tuple[dict[str, list[float]], str]:
    """Return the seconds of changed lines, here and with diskimage-builder, and what to know of them."""
    cases = {CHANGED: lambda turn: _changed(place, turn)}
    if gone := image_builder.missing():
        return interleave(cases, repeats, warm=1), f"diskimage-builder is not measured: no {gone} on PATH."
    builder = image_builder.ImageBuilder(scratch)
    cases[BUILDER] = lambda turn: builder.make(f"echo {time.time_ns()}-{turn} >/usr/share/changed")
    note = (
        "diskimage-builder: debian-minimal, its caches filled; one file system, no partitions or boot loader."
    )
    return interleave(cases, min(repeats, 3), warm=1), note


def _changed(place: Place, turn: int) -> float:
    """Bake hello with another last line and export the disk."""
    with tempfile.TemporaryDirectory() as scratch:
        line = f"RUN echo {time.time_ns()}-{turn} >/usr/share/changed"
        context = copied_context(Path(scratch) / "hello", [line])
        seconds = place.timed("bake", "-q", "-t", "bench-changed", context)
        return seconds + place.timed("export", "bench-changed", "-o", Path(scratch) / "changed.raw")
