"""Machines of systemd-nspawn: system containers on a snapshot of their image."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from stoneware.files import read_json
from stoneware.guest import builder
from stoneware.model import guest_lines, guest_protocol
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DIRECTORY, VolumeMount
from stoneware.platforms.local.host import process_limits, ready_filters
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import Command, Program, Streams, Terminal
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Machines

_UNITS = "/run/stoneware/units"  # in a builder
_FILES = "/run/stoneware/files"  # in one that runs a script alone
_POWER_OFF = signal.SIGRTMIN + 4  # systemd(1), SIGNALS: starts poweroff.target
# nspawn starts a machine with inheritable capabilities, which newer systemds hand on to all services. Neither
# a virtual machine nor a container of Docker has any (CVE-2022-24769).
_INIT = "[ ! -x /usr/bin/setpriv ] || exec /usr/bin/setpriv --inh-caps=-all /sbin/init; exec /sbin/init"


class Nspawn:
    """Runs machines as system containers: see `runner.Runner`."""

    tools: tuple[str, ...] = ("systemd-nspawn",)
    script = "nspawn.sh"
    environment: Mapping[str, str] = types.MappingProxyType({"container": "systemd-nspawn"})

    volume_kind = DIRECTORY

    def check(self, spec: MachineSpec) -> None:
        """Refuse nothing."""

    def device(self, number: int, mount: VolumeMount) -> str:  # noqa: ARG002 - as others need
        """Return the directory that stands for a disk."""
        return _volume_place(number)

    def furnish(self, store: Store, machines: Machines, spec: MachineSpec, directory: Path) -> None:  # noqa: ARG002
        """Make a writable snapshot of the image."""
        btrfs.snapshot(store.source_rootfs(spec.source), directory / "rootfs", read_only=False)

    def limit_disk(self, store: Store, paths: Paths, spec: MachineSpec) -> None:
        """Limit the snapshot."""
        store_quota.limit(store.home, store.data, paths.rootfs, spec.disk, store_quota.DISK_VARIABLE)

    def limits(self, spec: MachineSpec) -> tuple[int | None, float | None, int]:
        """Return the machine's own."""
        return spec.memory, spec.cpus, spec.pids_limit

    def prepare(self, store: Store, paths: Paths, spec: MachineSpec) -> None:  # noqa: ARG002 - as others need
        """Make the directories that systemd-nspawn binds."""
        paths.lower.mkdir(exist_ok=True)
        if spec.kind == "builder" and not spec.runs_script and not _units(paths).exists():
            builder.write_units(_units(paths))

    def settings(self, store: Store, paths: Paths, spec: MachineSpec, machine_id: str) -> str:
        """Return the function that becomes systemd-nspawn."""
        argv = nspawn_argv(store, paths, spec, machine_id)
        command = shlex.join([*ready_filters.prefix(store.data), *argv])
        # nspawn maps the ids of the root where it is; what is mapped already cannot be bound mapped again.
        lower = (
            shlex.join(["mount", "--bind", str(paths.rootfs), str(paths.lower)]) if spec.read_only else ":"
        )
        # What a step leaves in /tmp belongs to its result, so it is on the builder's disk.
        tmp = "export SYSTEMD_NSPAWN_TMPFS_TMP=0\n" if spec.kind == "builder" else ""
        return f"run() {{\n{tmp}{lower} && exec {command}\n}}"

    def enlarge_volume(self, paths: Paths, mount: VolumeMount, size: int) -> None:
        """Do nothing: a directory has no size."""

    def plug(self, store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:  # noqa: ARG002 - as others need
        """Mount the directory in the machine."""
        # Not before: most machines never get a disk while they run.
        from stoneware.platforms.local.machines import nspawn_disks

        nspawn_disks.plug(paths, store.volume_path(mount.volume), mount)

    def unplug(self, store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:  # noqa: ARG002 - as others need
        """Take the mount out of the machine."""
        from stoneware.platforms.local.machines import nspawn_disks

        nspawn_disks.unplug(paths, store.volume_path(mount.volume), mount)

    def await_up(self, paths: Paths) -> None:
        """Wait for nothing: the first process is all."""

    def recognises(self, words: Sequence[str], machine_id: str) -> bool:
        """Know systemd-nspawn by the word that names the machine."""
        program = words[0].rpartition("/")[2] if words else ""
        return program == "systemd-nspawn" and f"--machine={machine_id}" in words

    def power_off(self, paths: Paths, leader: int) -> None:  # noqa: ARG002 - as others need
        """Send the machine's systemd the signal for it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, _POWER_OFF)

    def directory(self, paths: Paths) -> Path:
        """Return the snapshot."""
        return paths.rootfs

    def files(self, paths: Paths) -> Path:
        """Return the snapshot."""
        return paths.rootfs

    def start(self, paths: Paths, program: Program, streams: Streams) -> Command:
        """Have the machine's systemd start a program."""
        # Not before: with the bus it is a sixth of what `ps` would load.
        from stoneware.platforms.local.machines import command

        return command.start(paths, program, streams)

    @contextlib.contextmanager
    def on_terminal(
        self, paths: Paths, program: Program, resize: Callable[[int], None]
    ) -> Iterator[tuple[Command, Terminal]]:
        """Run a program on a pty of the machine's own."""
        from stoneware.platforms.local.machines import command
        from stoneware.platforms.local.machines.door import Door

        door = Door(paths)
        try:
            terminal = door.terminal()
        except BaseException:
            door.close()
            raise
        with contextlib.closing(terminal):
            # So that a program which drops to its user can open its terminal again, as after a login.
            os.fchown(terminal.slave, door.ids.uid + program.user.uid, -1)
            resize(terminal.master)
            with command.start(paths, program, terminal=terminal.path, door=door) as started:
                yield started, terminal


def _units(paths: Paths) -> Path:
    """Return the directory of the units that only a builder has."""
    return paths.root / "units"


def nspawn_argv(store: Store, paths: Paths, spec: MachineSpec, machine_id: str) -> list[str]:
    """Return the command that runs a machine."""
    # --register=no: there may be no systemd here to register with, and groups are made by the shim.
    argv = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=read-only"]
    # map: an id-mapped mount, so that files keep the ids of the image on disk, and nothing has to be chowned.
    argv += ["--setenv=SYSTEMD_COLORS=0", "--private-users=pick", "--private-users-ownership=map"]
    # A network of its own and no --network-namespace-path, which fails with private users (EPERM): the shim
    # hands the port's far end over.
    argv += ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--private-network"]
    argv += [f"--machine={machine_id}", f"--hostname={_host_name(spec)}"]
    argv += process_limits.nspawn_arguments(spec.ulimits)
    argv += [f"--uuid={machine_uuid(machine_id, spec.name)}"]
    if spec.runs_script:
        argv += ["--as-pid2"]  # what it leaves behind ends with it
    elif spec.kind == "builder":
        argv += [f"--setenv={name}={value}" for name, value in builder.environment(_UNITS).items()]
    else:
        # Builders have theirs from the shim: they are on the network before their first process starts.
        argv += _address_argument(paths)
    argv += _bind_arguments(store, paths, spec)
    root = ["-D", str(paths.rootfs)]
    if spec.runs_script:
        return [*argv, *root, "/bin/sh", f"{_FILES}/{guest_protocol.SCRIPT_FILE}"]
    told = process_limits.manager_script(spec.ulimits)
    if not spec.read_only:
        return [*argv, *root, "/bin/sh", "-c", f"{told}exec </dev/console\n{_INIT}"]
    lower = f"--bind-ro={_escape(paths.lower)}:/run/stoneware/lower:idmap,norbind"
    script = Path(__file__).with_name("rootwrap.sh").read_text()
    return [*argv, lower, *root, "/bin/sh", "-c", told + script, "sh", _INIT]


def _host_name(spec: MachineSpec) -> str:
    """Return what the guest's agent would set otherwise, by a program: a name of ours without its domain."""
    name = spec.hostname or spec.name
    return name.partition(".")[0] if name.endswith(".internal") else name


def _address_argument(paths: Paths) -> list[str]:
    """Hand the machine its address, which it has before DHCP could give it (the guest's stoneware-boot)."""
    network: dict[str, Any] = read_json(paths.root / "network.json") or {}
    if not network:
        return []
    address = IPv4Interface(f"{network['ip']}/{network['netmask']}")
    return [f"--set-credential=stoneware.network:{address} {network['gateway']} {network['mtu']}"]


def machine_uuid(machine_id: str, name: str) -> str:
    """Return a machine's UUID, the same at each of its starts."""
    # Not at the top: nothing but the start of a machine needs it.
    import uuid

    return uuid.uuid5(uuid.NAMESPACE_OID, f"stoneware {machine_id} {name}").hex


def _bind_arguments(store: Store, paths: Paths, spec: MachineSpec) -> list[str]:
    binds = [
        (
            _bind_option(store, mount),
            store.volume_path(mount.volume),
            mount.path if guest_lines.is_disk(mount) else _volume_place(number),
        )
        for number, mount in enumerate(spec.volumes)
    ]
    binds += [
        ("bind", store.cache_path(cache), f"/run/stoneware/cache/{number}")
        for number, cache in enumerate(spec.caches)
    ]
    # nspawn makes missing mount points as a user the machine does not know; /run/stoneware is the machine's.
    is_builder = spec.kind == "builder"
    own = ["--tmpfs=/run/stoneware:mode=0755"] if binds or spec.read_only or is_builder else []
    if is_builder:
        brought, place = (paths.root / "files", _FILES) if spec.runs_script else (_units(paths), _UNITS)
        own.append(f"--bind-ro={_escape(brought)}:{place}:idmap,norbind")
    return [*own, *(f"--{option}={_escape(source)}:{target}:idmap" for option, source, target in binds)]


def _bind_option(store: Store, mount: VolumeMount) -> str:
    """Say how a volume is bound: writable, for its first use fills it, and the guest honours `ro`.

    But for a disk that the machine sees itself and only reads.
    """
    if not (mount.read_only and guest_lines.is_disk(mount)):
        return "bind"
    volume = store.find_volume(mount.volume)
    return "bind-ro" if volume is not None and not volume.blank else "bind"


def _volume_place(number: int) -> str:
    return f"/run/stoneware/volumes/{number}"


def _escape(path: Path) -> str:
    """Return a path as nspawn's bind options take it: colons and backslashes escaped."""
    # In this order: the backslashes that escape colons must not be doubled.
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
