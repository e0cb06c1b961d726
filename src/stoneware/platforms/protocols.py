"""The protocols of a platform: all that bake, run and rollout ask of the place where machines run.

A function asks for the smallest that has what it needs. Every method raises StonewareError with what to do
next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stoneware.model.capability import Capability
from stoneware.model.execution import PLAIN, Execution
from stoneware.model.machine import Machine, MachineSpec
from stoneware.model.resources import PortMapping
from stoneware.platforms.builders import Builders
from stoneware.platforms.infrastructure import Infrastructure
from stoneware.platforms.resources import Resources

BAKED = "baked"  # the file below Images.build_path that says that only what the bake has left is to go
BAKES = "bakes"  # the lock (see Images.build_lock_path) that living bakes share, and `prune` takes alone


class Machines(Protocol):
    """Machines: made, looked at, told, stopped, removed."""

    @property
    def at_once(self) -> int:
        """Return how many machines may be asked at the same time: 1 where that would gain nothing."""
        ...

    @property
    def is_here(self) -> bool:
        """Say whether the machines are on this computer: to do something to one costs no request."""
        ...

    def create(self, spec: MachineSpec) -> Machine:
        """Create a machine and start it. Raises InputError when the name or a port is in use."""
        ...

    def observe(self, name: str) -> Machine | None:
        """Return the machine of that name as it is now, or None."""
        ...

    def machines(self) -> list[Machine]:
        """Return all machines, builders among them, sorted by name."""
        ...

    def start(self, name: str) -> Machine:
        """Start a stopped machine; a running one is left alone."""
        ...

    def stop(self, name: str, *, timeout: float | None = None, removing: bool = False) -> None:
        """Power a machine off, hard after `timeout` seconds (default: its own stop_timeout).

        `removing` leaves what else an end brings to the removal, which comes next.
        """
        ...

    def destroy(self, name: str) -> None:
        """Remove a machine, running or not. Its volumes stay. A missing machine is no error."""
        ...

    def port_faults(
        self, wanted: Mapping[str, Sequence[PortMapping]], *, besides: Collection[str] = ()
    ) -> dict[str, list[str]]:
        """Return why the ports of machines cannot be published now: by name, a sentence each.

        What the machines `besides` have counts as free.
        """
        ...

    def console(self, name: str, offset: int = 0) -> tuple[bytes, int]:
        """Return a piece of the console's output from a byte offset on, and the offset to go on from.

        What is not kept any more is passed over; the end is reached when there is nothing to return.
        """
        ...

    def console_place(
        self, name: str, *, lines: int | None = None, since: float | None = None, until: float | None = None
    ) -> int:
        """Return an offset in the console: where its last `lines` lines begin; or where the first line is
        that came `since` a time (in seconds since the epoch); or the end of what had come `until` a time.
        Without any of them it is where what is kept begins.
        """
        ...

    def console_times(self, name: str) -> Callable[[int], float | None]:
        """Return what tells when the byte at an offset of the console came (None: not known)."""
        ...

    def guest_attributes(self, name: str) -> dict[str, str]:
        """Return what the machine reported: `namespace/key` to value."""
        ...

    def set_metadata(self, name: str, changes: Mapping[str, str | None]) -> None:
        """Change instance attributes (None removes one); those who wait for a change are told."""
        ...

    def amend(self, name: str, **changes: Any) -> None:
        """Change fields of a machine's spec (model.machine_fields.CHANGED_BY_AMENDING); those who wait for
        its metadata are told.
        """
        ...

    def check_helpers(self) -> None:
        """Restart what machines depend on and has died. Who waits for a machine calls it once a second.

        Raises HostError where waiting is in vain: the machines' disk is full.
        """
        ...


class Secrets(Protocol):
    """Values that machines fetch, and that are shown nowhere."""

    def put_secret(self, name: str, value: bytes) -> str:
        """Keep a secret for machines to fetch and return its version, which is that of this value.

        Machines have the version that their spec names, so former values are kept for a while.
        """
        ...

    def secret_version(self, name: str, value: bytes) -> str | None:
        """Return the version of a secret that has this value, None where none that is kept has it."""
        ...

    def has_secret(self, name: str, version: str) -> bool:
        """Say whether the value that a secret had in some version is still kept."""
        ...

    def destroy_secret(self, name: str) -> None:
        """Forget a secret; a missing one is no error."""
        ...

    def let_fetch_secrets(self, specs: Iterable[MachineSpec]) -> None:
        """Let machines fetch the secrets of their specs, on a platform that asks who may."""
        ...


class Commands(Protocol):
    """Commands inside machines, where the platform can do Capability.COMMANDS."""

    def execute(self, name: str, argv: Sequence[str], how: Execution = PLAIN) -> int:
        """Run a command in a running machine on our own standard streams and return its exit code."""
        ...

    def run(
        self, name: str, argv: Sequence[str], how: Execution = PLAIN, *, timeout: float
    ) -> tuple[int, str]:
        """Run a command in a running machine; return its exit code and what it said on both its streams.

        It has neither terminal nor input. One that takes longer than `timeout` seconds is killed; its code
        is then 124, as that of timeout(1).
        """
        ...

    def copy_out(self, name: str, path: str, destination: Path) -> list[str]:
        """Copy a file or directory out of a machine, running or stopped, as `docker cp` does.

        Return sentences about what was left out, such as devices.
        """
        ...

    def copy_in(self, source: str | Path, name: str, path: str) -> None:
        """Copy a file or directory into a machine, running or stopped, as `docker cp` does."""
        ...


class Platform(Machines, Builders, Resources, Secrets, Commands, Protocol):
    """A place where machines run: all of it, and what of it can be used."""

    @property
    def name(self) -> str:
        """Return what users call it: `local`."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return what it can do of what not every platform can."""
        ...

    def instead_of(self, capability: Capability) -> str:
        """Return what to type or write where it cannot do something; nothing where there is no such way."""
        ...

    @property
    def infrastructure(self) -> Infrastructure:
        """Return how its machines, disks and networks are written for Terraform."""
        ...


class Images(Protocol):
    """Where images, checkpoints and tags are kept; what a bake reads to plan and writes when it is done."""

    @property
    def architecture(self) -> str:
        """Return the architecture of the machines as Debian names it: amd64, arm64."""
        ...

    def base_identity(self, reference: str) -> str | None:
        """Return the identity of a known base that is in the store, or None where it has to be made first."""
        ...

    def shared_base(self, reference: str) -> tuple[str, dict[str, Any] | None] | None:
        """Return identity and manifest of an image that others have shared, None for no such reference.

        One that Stoneware has not baked has no manifest.
        """
        ...

    def base_title(self, reference: str) -> str:
        """Return what making a base is called where a bake is shown."""
        ...

    def ensure_base(self, reference: str, *, refresh: bool, progress: Callable[[str], None]) -> str:
        """Make a base unless it is there, and return its identity, which is its checkpoint's key as well."""
        ...

    def known_bases(self) -> tuple[str, ...]:
        """Return the bases that can be made."""
        ...

    def import_root(self, archive: Path, progress: Callable[[str], None]) -> str:
        """Make a base of the root file system in a tar archive; return the reference that stands for it.

        Takes Capability.LOCAL_FILES. What can be installed into it, `ensure_base` does. Raises InputError
        where it is no root file system that machines can have.
        """
        ...

    def has_checkpoint(self, key: str) -> bool:
        """Say whether the root file system after a step is saved."""
        ...

    def checkpoint_document(self, key: str) -> dict[str, Any] | None:
        """Return what was noted with a checkpoint, or None when it is not there."""
        ...

    def image_ids(self) -> list[str]:
        """Return the ids of all images."""
        ...

    def has_image(self, image_id: str) -> bool:
        """Say whether an image is there."""
        ...

    def remove_image(self, image_id: str) -> None:
        """Remove an image and the tags on it; a missing one is no error."""
        ...

    def image_document(self, image_id: str) -> dict[str, Any]:
        """Return what the store knows of an image besides its manifest."""
        ...

    @property
    def saves_steps(self) -> bool:
        """Say whether each step of a bake is saved, or whole stages only."""
        ...

    def stage_source(self, source: str) -> Path:
        """Return a directory of this computer that has what a source leaves; read only.

        `source` is `checkpoint:KEY` or `image:ID`. Takes Capability.LOCAL_FILES.
        """
        ...

    def has_files(self, source: str, paths: Sequence[str]) -> bool:
        """Say whether files of a source are at hand without a builder."""
        ...

    def files_address(self, source: str, paths: Sequence[str]) -> str:
        """Return where a builder uploads files of a source to; nothing where its checkpoint is enough."""
        ...

    def stage_files(self, source: str, paths: Sequence[str], workspace: Path) -> Path:
        """Return the files of a source that are at hand: its root, or an archive put into `workspace`."""
        ...

    def manifest(self, image_id: str) -> dict[str, Any]:
        """Return an image's manifest."""
        ...

    def tags(self) -> dict[str, str]:
        """Return every `NAME:TAG` with the id it stands for."""
        ...

    def set_tag(self, reference: str, image_id: str) -> None:
        """Let `NAME:TAG` stand for an image."""
        ...

    def remove_tag(self, reference: str) -> None:
        """Remove a tag; a missing one is no error."""
        ...

    def build_path(self, build_id: str) -> Path:
        """Return the working directory of one bake (not made yet); left over only by an interrupted bake."""
        ...

    def build_lock_path(self, build_id: str) -> Path:
        """Return the flock file that a living bake holds: free means that the bake is gone."""
        ...

    def records(self) -> Path:
        """Return the directory of what earlier bakes were made of, for saying what has changed."""
        ...
