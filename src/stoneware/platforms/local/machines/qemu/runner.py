"""Virtual machines of QEMU: see `machines.runner.Runner`."""

from __future__ import annotations

import os
import shlex
import sys
import types
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from stoneware.errors import InputError, MachineError
from stoneware.files import read_json, write_private
from stoneware.model.guest_lines import is_disk
from stoneware.model.limits import DEFAULT_PIDS_LIMIT
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DISK, DISKS, VolumeMount
from stoneware.platforms import telling
from stoneware.platforms.local.host.requirements import check
from stoneware.platforms.local.machines.qemu import disks, launcher
from stoneware.platforms.local.machines.qemu.accelerator import KVM, choose, known
from stoneware.platforms.local.machines.qemu.hardware import (
    DEFAULT_CPUS,
    DEFAULT_MEMORY,
    LEAST_MEMORY,
    PROGRAM,
    disk_name,
    launch_settings,
    marked,
    volume_node,
)
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import Command, Program, Streams, Terminal
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Machines

_SETTINGS = "qemu.settings"
_COMES_UP = 20.0  # seconds for QEMU's monitor to answer
_BUTTON = "stoneware.platforms.local.machines.qemu.monitor"


class Qemu:
    """Runs machines with a kernel of their own."""

    tools: tuple[str, ...] = (PROGRAM, "OVMF", "tun")
    script = "qemu.sh"
    environment: Mapping[str, str] = types.MappingProxyType({})
    volume_kind = DISK

    def check(self, spec: MachineSpec) -> None:
        """Refuse what virtual machines of this platform do not have. Raises InputError."""
        if os.uname().machine != "x86_64":
            raise InputError("virtual machines need a computer with an x86-64 processor so far")
        kernel = "Its own kernel rules over its processes."
        refused = {
            "the work of a builder": (spec.kind == "builder", kernel),
            "resource limits of processes (--ulimit)": (bool(spec.ulimits), kernel),
            "a limit of processes (--pids-limit)": (spec.pids_limit != DEFAULT_PIDS_LIMIT, kernel),
        }
        for what, (asked, reason) in refused.items():
            if asked:
                raise InputError(
                    f"the virtual machine {spec.name!r} cannot have {what}",
                    details=reason,
                    resolution="leave it out, or leave out --vm",
                )
        if spec.memory is not None and spec.memory < LEAST_MEMORY:
            raise InputError(
                f"a virtual machine does not boot with {spec.memory} bytes of memory",
                resolution=f"--memory {LEAST_MEMORY >> 20}m    # or more",
            )
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if spec.memory is not None and spec.memory > there:
            raise InputError(
                f"a virtual machine cannot have {spec.memory} bytes of memory: this computer has {there}",
                resolution=f"--memory {there >> 21}m    # half of it",
            )

    def furnish(self, store: Store, machines: Machines, spec: MachineSpec, directory: Path) -> None:
        """Make a copy of the image's disk, which is assembled where there is none, or of one that is kept."""
        # Not before: what assembles disks is of no use to `ps` and `exec`.
        from stoneware.platforms.local.disks import disks as image_disks

        check(self.tools)  # before a disk is assembled for a minute
        kind, _, name = spec.source.partition(":")
        if kind not in ("image", "checkpoint"):
            raise InputError(
                f"there is nothing to boot from at {spec.source!r}", resolution="stoneware images"
            )

        def copy(target: Path) -> None:
            if kind == "checkpoint":
                image_disks.copy_kept(store.checkpoint_rootfs(name) / disks.ROOT, target, spec.disk)
                return
            try:
                image_disks.copy_disk(store, machines, name, target, telling.tell, size=spec.disk, agent=True)
            except InputError as error:  # an export's option is called otherwise
                least = error.resolution.replace("--size", "--disk")
                raise InputError(error.brief, details=error.details, resolution=least) from error

        disks.furnish(directory / "disk", copy, pristine=spec.read_only)

    def device(self, number: int, mount: VolumeMount) -> str:  # noqa: ARG002 - as others need
        """Return the place of a disk of its name, as on Compute Engine."""
        return f"{DISKS}{disk_name(mount)}"

    def limit_disk(self, store: Store, paths: Paths, spec: MachineSpec) -> None:  # noqa: ARG002 - it is its size
        """Limit the disk by what is left of the store."""
        store_quota.limit(store.home, store.data, paths.disk, None, store_quota.DISK_VARIABLE)

    def limits(self, spec: MachineSpec) -> tuple[int | None, float | None, int]:
        """Return limits of QEMU itself: the machine has its memory, and its kernel the processes."""
        return None, spec.cpus, DEFAULT_PIDS_LIMIT

    def prepare(self, store: Store, paths: Paths, spec: MachineSpec) -> None:
        """Write down the hardware, after finding out what runs it."""
        disks.forget_changes(paths.disk)
        accelerator = choose(store, paths.disk / disks.ROOT)
        if accelerator.name != KVM:
            telling.tell(f"{paths.name} runs in software, ten times as slow: {accelerator.why}")
        self._write_hardware(store, paths, spec, accelerator.name)

    @staticmethod
    def _write_hardware(store: Store, paths: Paths, spec: MachineSpec, accelerator: str) -> None:
        state: dict[str, Any] = read_json(paths.root / "state.json") or {}
        network: dict[str, Any] = read_json(paths.root / "network.json") or {}
        hardware = {
            "machine_id": state["id"],
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"stoneware {state['id']} {spec.name}")),
            "memory": spec.memory or DEFAULT_MEMORY,
            "cpus": spec.cpus or DEFAULT_CPUS,
            "accelerator": accelerator,
            "mac": network.get("mac", ""),
            "mtu": network.get("mtu", 0),
            # Of others the machine formats the disk before it mounts it for reading.
            "fixed": frozenset(
                disk_name(mount) for mount in spec.volumes if mount.read_only and is_disk(mount)
            ),
            # Only instances of a cloud get disks while they run; each controller costs others time at boot.
            "later": bool(spec.identity),
        }
        volumes = [(disk_name(mount), store.disk_path(mount.volume)) for mount in spec.volumes]
        write_private(paths.run / _SETTINGS, launch_settings(paths.run, paths.disk, hardware, volumes))

    def settings(self, store: Store, paths: Paths, spec: MachineSpec, machine_id: str) -> str:  # noqa: ARG002
        """Return the function that becomes QEMU, in the router's namespace at first, and how to end it."""
        python = [sys.executable, "-P", "-m"]
        # The last word is read by `recognises` alone: also what is yet to become QEMU is the machine's.
        launch = [*launcher.command(os.fspath(paths.run / _SETTINGS)), marked(machine_id)]
        enter = '[ -z "$ROUTER" ] || set -- nsenter --net="/run/netns/$ROUTER" "$@"'
        button = shlex.join([*python, _BUTTON, os.fspath(paths.root)])
        run = f'run() {{\nset -- {shlex.join(launch)}\n{enter}\nexec "$@"\n}}'
        return f"POWER_OFF={shlex.quote(button)}\n{run}"

    def enlarge_volume(self, paths: Paths, mount: VolumeMount, size: int) -> None:
        """Have QEMU tell the machine's kernel of the disk's new size."""
        from stoneware.platforms.local.machines.qemu import monitor

        monitor.ask(paths, "block_resize", node_name=volume_node(disk_name(mount)), size=size)

    def plug(self, store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
        """Have QEMU plug in the disk."""
        from stoneware.platforms.local.machines.qemu import plugging

        self._write_hardware(store, paths, spec, known(store))
        name, file = disk_name(mount), store.disk_path(mount.volume)
        plugging.plug(paths, name, file, fixed=mount.read_only)

    def unplug(self, store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
        """Have QEMU unplug the disk, whether the machine has let go of it or not."""
        from stoneware.platforms.local.machines.qemu import plugging

        self._write_hardware(store, paths, spec, known(store))
        plugging.unplug(paths, disk_name(mount))

    def await_up(self, paths: Paths) -> None:
        """Wait until QEMU has the machine's hardware. Raises MachineError."""
        from stoneware.platforms.local.machines.qemu import monitor

        monitor.ask(paths, "query-status", _COMES_UP)

    def recognises(self, words: Sequence[str], machine_id: str) -> bool:
        """Know QEMU, and what becomes it, by a word that names the machine."""
        return marked(machine_id) in words

    def power_off(self, paths: Paths, leader: int) -> None:  # noqa: ARG002 - the monitor is asked
        """Press the machine's power button; ask its agent as well, where nobody may watch the button."""
        from stoneware.platforms.local.machines.qemu import agent, monitor

        with suppress(MachineError):
            monitor.press_power_button(paths)
        with suppress(MachineError):
            agent.power_off(paths)

    def directory(self, paths: Paths) -> Path:
        """Return the directory of its disks."""
        return paths.disk

    def files(self, paths: Paths) -> Path:
        """Refuse: this computer's kernel reads no file system that a machine has written."""
        raise InputError(
            f"the files of the virtual machine {paths.name!r} are on its disk while it is off",
            resolution=f"stoneware start {paths.name}    # then copy them",
        )

    def start(self, paths: Paths, program: Program, streams: Streams) -> Command:
        """Have the machine's agent start a program."""
        from stoneware.platforms.local.machines.qemu import command

        return command.start(paths, program, streams)

    def on_terminal(
        self, paths: Paths, program: Program, resize: Callable[[int], None]
    ) -> AbstractContextManager[tuple[Command, Terminal]]:
        """Run a program on a terminal of the machine's own."""
        from stoneware.platforms.local.machines.qemu import command

        return command.on_terminal(paths, program, resize)
