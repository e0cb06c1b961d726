"""What is taken from builders of the local platform: results, checkpoints, captures."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from stoneware.errors import InputError, MachineError, StonewareError
from stoneware.model import guest_protocol
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines import stop as machine_stop
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.platform_resources import LocalResources
from stoneware.platforms.local.store import image_files as captured

if TYPE_CHECKING:
    from stoneware.platforms.local.lists.prepared import PreparedList


class LocalBuilders(LocalResources):
    """The methods of the local platform for what builders make."""

    def read_result(self, name: str, result: str) -> bytes:
        """Return what a builder has uploaded under a name. Raises MachineError where there is nothing."""
        path = self.existing_directory(name) / "results" / result
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise MachineError(f"the machine {name!r} has not uploaded {result}") from error

    @functools.cached_property
    def _prepared(self) -> dict[str, PreparedList]:
        return {}

    def prepare_list(self, name: str, base: str) -> None:
        """Have the list ready by which a builder's files will be listed, in a thread."""
        from stoneware.platforms.local.lists.prepared import PreparedList

        with contextlib.suppress(StonewareError):  # where it is gone or damaged, whoever drives it says so
            spec = machine_record.whole_spec(Paths(self.existing_directory(name)))
            source, root = (self.store.source_rootfs(each) for each in (spec.source, base))
            self._prepared[name] = PreparedList(source, root)

    def list_files(self, name: str, base: str) -> bool:
        """List a builder's files by what btrfs knows to have changed since it was made, if it can tell."""
        from stoneware.platforms.local.lists.changes import OddError
        from stoneware.platforms.local.lists.sealing import list_root

        paths = Paths(self.existing_directory(name))
        try:
            if name not in self._prepared:
                self.prepare_list(name, base)
            parent, known = self._prepared.pop(name).wait()
            listed = list_root(parent, paths.rootfs, paths.root / "listed", known)
            staged = paths.root / guest_protocol.LISTED_FILE
            staged.write_bytes(listed)
            # The agent fetches it as soon as it is there, so it appears whole.
            staged.rename(paths.root / "files" / staged.name)
        except (OddError, OSError, InputError, KeyError):
            return False  # its agent walks over all files and finds the same
        return True

    def checkpoint(
        self,
        name: str,
        key: str,
        document: Mapping[str, Any],
        *,
        taken: Callable[[], None] | None = None,
    ) -> None:
        """Save a builder's root file system under a step key, atomically; the machine goes on running."""
        self.store.save_checkpoint(key, Paths(self.existing_directory(name)).rootfs, document, taken=taken)

    def capture(
        self,
        name: str,
        manifest: bytes,
        document: Mapping[str, Any],
        *,
        files: Mapping[str, bytes] | None = None,
    ) -> str:
        """Make an image of a stopped builder's root and return its id, `sha256:…` of `manifest`."""
        paths = Paths(self.existing_directory(name))
        with self.store.lock("machines", name):
            if not machine_stop.has_ended(paths):
                raise MachineError(f"the machine {name!r} still runs", resolution=f"stoneware stop {name}")
            if files:
                captured.put_files(paths.rootfs, files)
            return self.store.save_image(paths.rootfs, manifest, document)
