"""Disks that come to a QEMU which runs, and go from it: a real one, without a machine in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.machines.qemu import monitor, plugging
from stoneware.platforms.local.machines.qemu.hardware import PROGRAM, command_line, volume_device, volume_node
from stoneware.platforms.local.machines.record import Paths
from stoneware.process import which
from tests.local.test_virtual_hardware import hardware

pytestmark = pytest.mark.tool
CONTROLLER = ("-device", "virtio-scsi-pci,id=volumes")


@contextlib.contextmanager
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Iterator[Paths]:
    """Run a QEMU with nothing to boot from; its monitor is where a machine's is."""
    if which(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM}")
    place = tmp_path / "monitor"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(place))
    listener.listen(4)

    def connect(_paths: Paths, _name: str, timeout: float) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(timeout)
        made.connect(os.fspath(place))
        return made

    monkeypatch.setattr(monitor, "connect", connect)
    channel = f"socket,id=m,fd={listener.fileno()},server=on,wait=off"
    argv = [PROGRAM, "-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg"]
    argv += ["-chardev", channel, "-mon", "chardev=m,mode=control", *words]
    with subprocess.Popen(argv, pass_fds=(listener.fileno(),), stdin=subprocess.DEVNULL) as process:
        listener.close()
        try:
            yield Paths(tmp_path)
        finally:
            process.kill()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1 << 20))
    return path


def nodes(paths: Paths) -> dict[str, bool]:
    """Return the names of what QEMU has open, and whether it only reads it."""
    found: Any = monitor.ask(paths, "query-named-block-nodes")
    return {node["node-name"]: node["ro"] for node in found}


def devices(paths: Paths) -> set[str]:
    found: Any = monitor.ask(paths, "qom-list", path="/machine/peripheral")
    return {one["name"] for one in found} - {"type", "volumes"}


@pytest.mark.parametrize("fixed", [False, True])
def test_a_disk_comes_and_goes_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Path, fixed: bool
) -> None:
    with running(tmp_path, monkeypatch, *CONTROLLER) as paths:
        for _ in range(2):
            plugging.plug(paths, "data", disk, fixed=fixed)
            plugging.plug(paths, "data", disk, fixed=fixed)  # done again after a kill
            assert devices(paths) == {volume_device("data")}
            assert nodes(paths) == {volume_node("data"): fixed, f"{volume_node('data')}-file": fixed}
            plugging.unplug(paths, "data")
            plugging.unplug(paths, "data")
            assert (devices(paths), nodes(paths)) == (set(), {})
        assert monitor.ask(paths, "query-fdsets") == []  # nothing of it is open any more


def test_a_disk_that_was_there_from_the_start_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Path
) -> None:
    opened = os.open(disk, os.O_RDWR)
    os.set_inheritable(opened, True)
    argv = command_line(hardware(volumes=(("data", opened),)))
    words = []
    for flag, text in itertools.pairwise(argv):
        if flag in {"-add-fd", "-blockdev", "-device"} and ("volume" in text or flag == "-add-fd"):
            words += [flag, text]
    original = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda argv, pass_fds, **more: original(argv, pass_fds=(*pass_fds, opened), **more),
    )
    with running(tmp_path, monkeypatch, *words) as paths:
        os.close(opened)
        assert devices(paths) == {volume_device("data")}
        plugging.unplug(paths, "data")
        assert (devices(paths), nodes(paths)) == (set(), {})
        assert monitor.ask(paths, "query-fdsets") == []


def test_what_a_killed_command_has_left_open_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Path
) -> None:
    async def open_only(client: Any) -> None:
        opened = os.open(disk, os.O_RDWR)
        client.send_fd_scm(opened)
        os.close(opened)
        number = (await client.execute("add-fd"))["fdset-id"]
        await client.execute("blockdev-add", plugging._node("data", number, fixed=False))

    with running(tmp_path, monkeypatch, *CONTROLLER) as paths:
        monitor.converse(paths, "leave it", 20, open_only)
        assert volume_node("data") in nodes(paths)
        plugging.plug(paths, "data", disk, fixed=False)
        assert devices(paths) == {volume_device("data")}


def test_a_machine_without_a_place_for_disks_keeps_nothing_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Path
) -> None:
    with running(tmp_path, monkeypatch) as paths:
        with pytest.raises(MachineError) as caught:
            plugging.plug(paths, "data", disk, fixed=False)
        assert "volumes.0" in caught.value.details
        assert nodes(paths) == {}


def test_a_disk_that_another_machine_has_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Path
) -> None:
    with running(tmp_path, monkeypatch, *CONTROLLER) as paths:
        plugging.plug(paths, "data", disk, fixed=False)
        with pytest.raises(MachineError, match="does not answer"):
            plugging.plug(paths, "again", disk, fixed=False)
        assert devices(paths) == {volume_device("data")}
