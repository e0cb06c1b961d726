"""Instance attributes that a platform writes of a machine's disks and secrets, for its boot agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DISKS, SecretMount, VolumeMount


def is_disk(mount: VolumeMount) -> bool:
    """Say whether a machine sees the disk itself, and is told nothing to mount."""
    return mount.path.startswith(DISKS)


def volume_lines(spec: MachineSpec, device: Callable[[int, VolumeMount], str]) -> str:
    """Return the attribute `stoneware-volumes`: lines of device, path and ro or rw, by path.

    `device` says where the machine has its n-th volume. Of a tmpfs it has `tmpfs`, the path and the mount
    options.
    """
    lines = [
        (mount.path, f"{device(number, mount)}\t{mount.path}\t{'ro' if mount.read_only else 'rw'}")
        for number, mount in enumerate(spec.volumes)
        if not is_disk(mount)
    ]
    lines += [(path, f"tmpfs\t{path}\t{options}") for path, options in spec.system.tmpfs]
    # By path, so that a mount below another one comes after it.
    return "".join(f"{line}\n" for _, line in sorted(lines))


def secret_lines(mounts: Iterable[SecretMount], address: Callable[[SecretMount], str]) -> str:
    """Return the attribute `stoneware-secrets`: lines of target, mode, URL, version, and owner."""
    return "".join("\t".join(_line(item, address(item))) + "\n" for item in mounts)


def _line(item: SecretMount, address: str) -> tuple[str, ...]:
    owner = (f"{item.uid}:{item.gid}",) if item.uid or item.gid else ()
    version = item.version or "-" * len(owner)  # between tabs nothing would be no field
    return (item.target, f"{item.mode:04o}", address, version, *owner)
