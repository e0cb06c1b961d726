"""The protocols of builders: machines in which images are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from stoneware.model.machine import Machine


class Builder(Protocol):
    """One builder, from before it exists to its removal. Asking one that is gone is an InputError."""

    @property
    def name(self) -> str:
        """Return its name as a machine."""
        ...

    @property
    def beat(self) -> float:
        """Return how many seconds there are between its agent's signs of life."""
        ...

    def lacks_guest(self, source: str) -> bool:
        """Say whether what is at a source lacks Stoneware's programs: then the bundle has to bring them."""
        ...

    def publish(self, bundle: Path, files: Mapping[str, Path]) -> str:
        """Bring the bundle to where the builder can fetch it, and return its address there.

        `files` are for this builder alone as well, by the names that its agent asks for them.
        """
        ...

    def results_address(self, result: str) -> str:
        """Return the address that the builder uploads a result to."""
        ...

    def boot(self, source: str, metadata: Mapping[str, str], caches: Sequence[str] = ()) -> None:
        """Make the builder and start it. To be called after `publish`.

        `source` is `checkpoint:KEY` or `image:ID`. `caches` are ids of directories that outlive builders,
        bound at /run/stoneware/cache/0, 1, … where the platform can do Capability.CACHES.
        """
        ...

    def observe(self) -> Machine | None:
        """Return the machine as it is now, or None where it is gone."""
        ...

    def console(self, offset: int = 0) -> tuple[bytes, int]:
        """Return a piece of its console's output from a byte offset on, and the offset to go on from."""
        ...

    def reports(self) -> dict[str, str]:
        """Return what its agent reported: `namespace/key` to value."""
        ...

    def tell(self, changes: Mapping[str, str | None]) -> None:
        """Change its instance attributes (None removes one), for which its agent waits."""
        ...

    def check_helpers(self) -> None:
        """Restart what it depends on and has died. Raises HostError where waiting for it is in vain."""
        ...

    def result(self, result: str) -> bytes:
        """Return what it has uploaded under a name. Raises MachineError where there is nothing."""
        ...

    def prepare_list(self, base: str) -> None:
        """Get ready for `list_files`, which will be called once its seal asks; return at once."""
        ...

    def list_files(self, base: str) -> bool:
        """List the files of its root for its seal, from those of `base`, which the root was made from.

        There may be steps between the two. False where that cannot be done; else the lists are among its
        files, as `guest_protocol.LISTED_FILE`.
        """
        ...

    def save_step(
        self, key: str, document: Mapping[str, Any], *, taken: Callable[[], None] | None = None
    ) -> None:
        """Save its root file system under a step key, atomically; it goes on running.

        Takes Capability.CHECKPOINTS. `taken` is called once what it writes from then on is no part of it.
        """
        ...

    def stop(self, timeout: float | None = None) -> None:
        """Switch it off, hard after `timeout` seconds (None: its own); 0: nothing in it has to end well."""
        ...

    def capture(
        self, manifest: bytes, document: Mapping[str, Any], *, files: Mapping[str, bytes] | None = None
    ) -> str:
        """Make an image of its root, once it has stopped, and return the id, `sha256:…` of `manifest`.

        `files` are put into its /usr/lib/stoneware/image first, which takes Capability.CHECKPOINTS.
        """
        ...

    def release(self, *, failed: bool = False) -> None:
        """Remove the builder, running or not, and what it was made with. One that is gone is no error.

        After a failure nothing is raised: the next command removes what is left.
        """
        ...


class Builders(Protocol):
    """What bake asks of a platform."""

    def prepare_builder(
        self,
        name: str,
        directory: Path,
        output: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[Builder]:
        """Give a builder that is still to be made; what is slow to load begins to load.

        `directory`, one of its own in that of the bake, keeps what whoever comes later needs to remove it.
        `output` gets what Terraform prints, by lines; `tell` gets sentences for people.
        """
        ...

    def has_builders(self, bake: Path) -> bool:
        """Say whether a bake, by its directory, has a builder that is not removed, or may have one."""
        ...

    def remove_builders(self, bake: Path) -> bool:
        """Remove the builders that a bake has left, and say whether there was one."""
        ...
