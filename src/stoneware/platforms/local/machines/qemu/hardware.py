"""A virtual machine's hardware, as QEMU's command line. Pure."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.files import sha256_hex
from stoneware.model.guest_lines import is_disk
from stoneware.model.resources import DISKS, VolumeMount
from stoneware.platforms.local.host.firmware import FIRMWARE

PROGRAM = "qemu-system-x86_64"
DEFAULT_MEMORY = 1 << 30  # bytes
DEFAULT_CPUS = 1
LEAST_MEMORY = 192 << 20  # bytes: the firmware and Debian's kernel start with less and then fail oddly
MONITOR, AGENT = "monitor", "agent"  # names of sockets
SLOTS = 8  # commands that can run in a machine at the same time
STREAMS = ("in", "out", "err")
_SCSI = "volumes"  # the controller of further disks
_FIRST = 100  # of the descriptors that QEMU gets: none that its launcher has open for itself
_IDS = 0x70000000  # users and groups of nobody: systemd calls them unused (UIDs and GIDs on systemd systems)


@dataclass(frozen=True)
class Hardware:
    """What one machine has. `tap`, `sockets` and `volumes` (by name) are descriptors that QEMU gets.

    One without a `mac` has no network."""

    machine_id: str
    uuid: str
    memory: int  # bytes
    cpus: float
    accelerator: str  # kvm or tcg
    mac: str
    mtu: int
    tap: int
    sockets: dict[str, int]
    volumes: tuple[tuple[str, int], ...] = ()  # names and descriptors of further disks
    fixed: frozenset[str] = frozenset()  # names of those that the machine cannot write
    later: bool = False  # others may come while it runs


def socket_names() -> tuple[str, ...]:
    """Return the names of the sockets that lead to a machine's monitor, agent and streams."""
    return (MONITOR, AGENT, *(stream(slot, name) for slot in range(SLOTS) for name in STREAMS))


def stream(slot: int, name: str) -> str:
    """Return the name of a stream of a slot, which is that of its port in the machine as well."""
    return f"stoneware.{slot}.{name}"


def user_id(machine_id: str) -> int:
    """Return the id of the user and group that QEMU runs as for a machine, one for each machine."""
    return _IDS + (zlib.crc32(machine_id.encode()) & 0x0FFFFFFF)


def marked(machine_id: str) -> str:
    """Return the word of a command line that tells whose process it is."""
    return f"stoneware-{machine_id}"


def launch_settings(
    run: Path, disks: Path, values: Mapping[str, Any], volumes: Sequence[tuple[str, Path]] = ()
) -> str:
    """Return what launcher.py is told: QEMU's command line, and what is to be open under which number.

    `values` are those of Hardware but for descriptors; `volumes` are names of disks and their files.
    """
    numbers = itertools.count(_FIRST)
    tap = next(numbers)
    sockets = dict(zip(socket_names(), numbers, strict=False))
    opened = [(name, path, next(numbers)) for name, path in volumes]
    devices = tuple((name, number) for name, _, number in opened)
    machine = Hardware(**values, tap=tap, sockets=sockets, volumes=devices)
    lines = [f"run 0 {run}", f"disks {user_id(machine.machine_id)} {disks}"]
    lines += ["kvm 0 on"] if machine.accelerator == "kvm" else []
    lines += [f"tap {tap} vb-{machine.machine_id}"] if machine.mac else []
    lines += [f"socket {number} {name}" for name, number in sockets.items()]
    # QEMU refuses a descriptor that could write for a disk that it is not to write.
    kinds = {name: "fixed" if name in machine.fixed else "volume" for name, _ in devices}
    lines += [f"{kinds[name]} {number} {path}" for name, path, number in opened]
    lines += [f"word {number} {word}" for number, word in enumerate(command_line(machine))]
    if any("\n" in line for line in lines):
        raise ValueError("a name of a disk or a path has more than one line")
    return "".join(f"{line}\n" for line in lines)


def command_line(hardware: Hardware) -> list[str]:
    """Return QEMU's command line. Paths are those of the jail."""
    kvm = hardware.accelerator == "kvm"
    argv = [PROGRAM, "-name", marked(hardware.machine_id), "-uuid", hardware.uuid]
    # Only what is named here: no default devices, nothing of a configuration on this computer.
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-msg", "guest-name=off"]
    # A second wall behind the jail: QEMU's own filter of system calls.
    argv += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    argv += ["-machine", "q35,smm=off,vmport=off,usb=off,graphics=off"]
    # In software `max`: until the hello image was healthy it took 77 to 80 s of the processor, qemu64 69,
    # `max` without five-level page tables 80, Nehalem 83, which is within what other work makes of it; and
    # qemu64 lacks what programs for x86-64-v2 need.
    # A gigabyte of translated code by default would be more than most machines have memory. With 512 MiB a
    # broker that starts took 118 s of the processor instead of 124, for 430 MB more memory.
    argv += ["-accel", "kvm" if kvm else "tcg,thread=multi,tb-size=128", "-cpu", "host" if kvm else "max"]
    argv += ["-smp", str(max(1, math.ceil(hardware.cpus))), "-m", f"{hardware.memory >> 20}M"]
    argv += ["-rtc", "base=utc", "-action", "reboot=reset,shutdown=poweroff,panic=exit-failure"]
    argv += _disks() + _volumes(hardware)
    argv += _network(hardware)
    argv += ["-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random"]
    # Tells QEMU of a kernel's panic, which ends it with a failure: the restart policy takes it from there.
    argv += ["-device", "pvpanic-pci"]
    argv += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    return argv + _ports(hardware)


def _disks() -> list[str]:
    def firmware(unit: int, path: str, *, read_only: bool) -> str:
        mode = "on" if read_only else "off"
        return f"if=pflash,unit={unit},format=raw,readonly={mode},file={path}"

    # unmap: what the machine trims is free again in the store.
    file = "driver=file,node-name=root-file,filename=/disks/root.raw,discard=unmap"
    return [
        *(
            "-drive",
            firmware(0, FIRMWARE, read_only=True),
            "-drive",
            firmware(1, "/disks/vars.fd", read_only=False),
        ),
        *("-blockdev", file, "-blockdev", "driver=raw,node-name=root,file=root-file,discard=unmap"),
        *("-device", "virtio-blk-pci,drive=root,serial=root,bootindex=1"),
    ]


def disk_name(mount: VolumeMount) -> str:
    """Return the name that a machine knows a volume's disk by."""
    return mount.path.removeprefix(DISKS) if is_disk(mount) else mount.volume


def volume_node(name: str) -> str:
    """Return what QEMU calls the contents of the disk of a name."""
    return f"volume-{_short(name)}"


def volume_device(name: str) -> str:
    """Return what QEMU calls the disk of a name."""
    return f"disk-{_short(name)}"


def _short(name: str) -> str:
    # A name of QEMU's has 31 letters, digits and few other characters at most; and a number by which disks
    # stand in a row would be another one's once one of them has gone.
    return sha256_hex(name.encode())[:16]


def scsi_disk(name: str) -> dict[str, str]:
    """Return the disk of a name as a device, as Compute Engine's are: its page of names has its name."""
    device = {"driver": "scsi-hd", "id": volume_device(name), "bus": f"{_SCSI}.0", "drive": volume_node(name)}
    return {**device, "vendor": "Google", "product": "PersistentDisk", "device_id": name}


def _volumes(hardware: Hardware) -> list[str]:
    """Return further disks, and where they are plugged in."""
    # PCI Express takes no device later but behind ports of its own; this controller takes disks at any time.
    argv = ["-device", f"virtio-scsi-pci,id={_SCSI}"] if hardware.volumes or hardware.later else []
    for number, (name, descriptor) in enumerate(hardware.volumes):
        node = volume_node(name)
        mode = ",read-only=on" if name in hardware.fixed else ",discard=unmap"
        file = f"driver=file,node-name={node}-file,filename=/dev/fdset/{number}{mode}"
        # By an open descriptor: the file stays root's, and the jail has no path to it.
        argv += ["-add-fd", f"fd={descriptor},set={number},opaque={node}", "-blockdev", file]
        argv += ["-blockdev", f"driver=raw,node-name={node},file={node}-file{mode}"]
        # QEMU's options are parted by commas; one that is meant is doubled.
        driver, *options = scsi_disk(name).items()
        words = [f"{key}={text.replace(',', ',,')}" for key, text in options]
        argv += ["-device", ",".join((driver[1], *words))]
    return argv


def _network(hardware: Hardware) -> list[str]:
    if not hardware.mac:
        return []
    # romfile: without the program by which a card boots from the network.
    card = f"virtio-net-pci,netdev=port,mac={hardware.mac},host_mtu={hardware.mtu},romfile="
    return ["-netdev", f"tap,id=port,fd={hardware.tap}", "-device", card]


def _ports(hardware: Hardware) -> list[str]:
    def channel(name: str) -> str:
        return f"socket,id={name},fd={hardware.sockets[name]},server=on,wait=off"

    argv = ["-chardev", channel(MONITOR), "-mon", f"chardev={MONITOR},mode=control"]
    argv += ["-device", "virtio-serial-pci,id=ports"]
    argv += ["-chardev", channel(AGENT)]
    argv += ["-device", f"virtserialport,bus=ports.0,nr=1,chardev={AGENT},name=org.qemu.guest_agent.0"]
    for number, name in enumerate(socket_names()[2:], start=2):
        argv += ["-chardev", channel(name)]
        argv += ["-device", f"virtserialport,bus=ports.0,nr={number},chardev={name},name={name}"]
    return argv
