"""What machines use besides themselves: ports, volumes, secrets, networks."""

from __future__ import annotations

from collections.abc import Mapping

from stoneware.dataclass import dataclass


@dataclass(frozen=True, order=True)
class PortMapping:
    """A port of the machine published on this computer. `host_port` 0 asks for a free one."""

    host_ip: str
    host_port: int
    machine_port: int
    protocol: str = "tcp"


DISKS = "/dev/disk/by-id/google-"  # how the places begin at which Compute Engine's machines find their disks


@dataclass(frozen=True, order=True)
class VolumeMount:
    """A persistent disk, by name, and where the machine mounts it.

    A path that begins as DISKS is the disk's own place, and the machine is told nothing to mount.
    """

    volume: str
    path: str
    read_only: bool = False


@dataclass(frozen=True, order=True)
class SecretMount:
    """A secret, by name, and the file that a machine has it in: below /run/secrets, or an absolute path.

    One that others have put into Secret Manager has its path there for a name: `projects/P/secrets/S`.
    `version` is what `put_secret` returned: it tells one value from the next and says nothing about either.
    `uid` and `gid` own the file.
    """

    secret: str
    target: str
    version: str
    mode: int = 0o400
    uid: int = 0
    gid: int = 0

    @property
    def elsewhere(self) -> bool:
        """Say whether others keep it: nothing is put, opened or removed by us."""
        return is_elsewhere(self.secret)


def is_elsewhere(secret: str) -> bool:
    """Say whether the name of a secret is the path of one that others have put into Secret Manager."""
    return secret.startswith("projects/")


DIRECTORY, DISK = "directory", "disk"  # kinds of volumes


@dataclass(frozen=True)
class Volume:
    """A persistent disk that exists; `machines` mount it. `created` is in seconds since the epoch.

    `size` is the most that it may take, in bytes, where it was created with one; of a disk it is the disk's.
    `floor` is the lowest version of an image that may boot on it; any may where it is empty. Containers of
    this computer have directories for disks, virtual machines have disks.
    """

    name: str
    created: float
    labels: Mapping[str, str]
    machines: tuple[str, ...]
    size: int | None = None
    floor: str = ""
    kind: str = DIRECTORY
    blank: bool = False  # nothing was ever written on it: it becomes of the kind that its machine needs


@dataclass(frozen=True)
class Snapshot:
    """What was on a volume at an instant. It stays when the volume is removed.

    `size` are the bytes of its files, None where these were not counted. An `automatic` one is what a restore
    has replaced.
    """

    volume: str
    name: str
    created: float
    size: int | None = None
    floor: str = ""
    automatic: bool = False


@dataclass(frozen=True)
class Network:
    """A network that exists: its machines reach each other, by name too, and no others.

    While it exists a machine's name keeps its address in it, also when the machine is recreated. A machine
    that is on `internal` networks only reaches nothing else, and is reached from this computer alone.
    `subnets` are the ranges of addresses (`10.5.0.0/16`) that its machines have theirs of; none where these
    are the platform's to choose. In each range the first address is the gateway's.
    """

    name: str
    created: float
    labels: Mapping[str, str]
    machines: tuple[str, ...]
    internal: bool = False
    subnets: tuple[str, ...] = ()
