"""Disks of a virtual machine that runs: they come to it and go from it by QEMU's monitor.

QEMU gets an open descriptor, as at the start of the machine. A SCSI disk goes whether the machine has let go
of it or not: what the machine writes to it after that fails in the machine. What a killed command has left
half done, the next one does or takes away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stoneware.platforms.local.machines.qemu import monitor
from stoneware.platforms.local.machines.qemu.hardware import scsi_disk, volume_device, volume_node
from stoneware.platforms.local.machines.record import Paths

_TAKES = 20.0  # seconds; QEMU writes out what it has of a disk before it lets go
_GONE = "DEVICE_DELETED"  # the event


def plug(paths: Paths, name: str, file: Path, *, fixed: bool) -> None:
    """Let a machine have a disk of a name; one that it has is no error. Raises MachineError.

    Nothing that is `fixed` can be written, whatever the machine does.
    """
    opened = os.open(file, (os.O_RDONLY if fixed else os.O_RDWR) | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        monitor.converse(paths, "device_add", _TAKES, lambda client: _plug(client, name, opened, fixed=fixed))
    finally:
        os.close(opened)


async def _plug(client: Any, name: str, opened: int, *, fixed: bool) -> None:
    if volume_device(name) in await _devices(client):
        return
    await _let_go(client, name)
    client.send_fd_scm(opened)
    added = await client.execute("add-fd", {"opaque": volume_node(name)})
    number = added.get("fdset-id") if isinstance(added, dict) else None
    if not isinstance(number, int):
        raise ValueError(f"a number of a descriptor that is none: {number!r:.40}")  # noqa: TRY004 - QEMU's word
    await client.execute("blockdev-add", _node(name, number, fixed=fixed))
    try:
        await client.execute("device_add", scsi_disk(name))
    except BaseException:
        await _let_go(client, name)
        raise


def _node(name: str, number: int, *, fixed: bool) -> dict[str, Any]:
    node, mode = volume_node(name), {"read-only": True} if fixed else {"discard": "unmap"}
    file = {"driver": "file", "node-name": f"{node}-file", "filename": f"/dev/fdset/{number}", **mode}
    return {"driver": "raw", "node-name": node, "file": file, **mode}


async def _devices(client: Any) -> set[str]:
    """Return the names of the devices that have one."""
    found = await client.execute("qom-list", {"path": "/machine/peripheral"})
    if not isinstance(found, list):
        raise ValueError("a list of devices that is none")  # noqa: TRY004 - QEMU's word
    return {str(one.get("name")) for one in found if isinstance(one, dict)}


async def _let_go(client: Any, name: str) -> None:
    """Have QEMU close the file of a disk that no device has; none is no error."""
    from qemu.qmp import ExecuteError

    node = volume_node(name)
    # Of a disk that was there at the start each node stands by itself; of another the first takes both along.
    for one in (node, f"{node}-file"):
        try:
            await client.execute("blockdev-del", {"node-name": one})
        except ExecuteError as error:
            if "find" not in str(error):
                raise
    for number in await _open_sets(client, node):
        await client.execute("remove-fd", {"fdset-id": number})


async def _open_sets(client: Any, node: str) -> list[int]:
    """Return the numbers of the sets with a descriptor that was handed over for a disk."""
    found = await client.execute("query-fdsets")
    sets = found if isinstance(found, list) else []
    return [one["fdset-id"] for one in sets if any(fd.get("opaque") == node for fd in one["fds"])]


def unplug(paths: Paths, name: str) -> None:
    """Take a disk from a machine; one that it has not is no error. Raises MachineError."""
    monitor.converse(paths, "device_del", _TAKES, lambda client: _unplug(client, name))


async def _unplug(client: Any, name: str) -> None:
    device = volume_device(name)
    with client.listener(_GONE) as gone:
        if device in await _devices(client):
            await client.execute("device_del", {"id": device})
            async for event in gone:
                if event.get("data", {}).get("device") == device:
                    break
    await _let_go(client, name)
