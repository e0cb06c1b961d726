"""The local store as a bake sees it: the store itself and the bases it can make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stoneware.platforms.local.bases import bases, imported, sources
from stoneware.platforms.local.host.architecture import architecture
from stoneware.platforms.local.store.store import Store


class LocalImageStore(Store):
    """The local implementation of `stoneware.platforms.protocols.Images`."""

    @property
    def architecture(self) -> str:
        """Return this computer's architecture as Debian names it."""
        return architecture()

    def known_bases(self) -> tuple[str, ...]:
        """Return the bases that can be made here."""
        return (*sorted(sources.sources(self.project)), *imported.references(self))

    def base_identity(self, reference: str) -> str | None:
        """Return the identity of a base that has been made, or None."""
        if imported.is_imported(reference):
            return imported.identity(self, reference)
        return bases.base_identity(self, reference)

    def shared_base(self, reference: str) -> tuple[str, dict[str, Any] | None] | None:  # noqa: ARG002 - none is
        """Return nothing: images are of this store."""
        return None

    def base_title(self, reference: str) -> str:
        """Return what making a base is called where a bake is shown."""
        return imported.title(self, reference) if imported.is_imported(reference) else f"base {reference}"

    def ensure_base(self, reference: str, *, refresh: bool, progress: Callable[[str], None]) -> str:
        """Make a base unless it is there; `refresh` builds it again. Return its identity."""
        if imported.is_imported(reference):
            return imported.ensure(self, reference, progress)
        return bases.ensure_base(self, reference, refresh=refresh, progress=progress)

    def import_root(self, archive: Path, progress: Callable[[str], None]) -> str:
        """Make a base of the root file system in an archive; return the reference that stands for it."""
        return imported.import_root(self, archive, progress)

    @property
    def saves_steps(self) -> bool:
        """Say that each step of a bake is saved."""
        return True

    def has_files(self, source: str, paths: Sequence[str]) -> bool:  # noqa: ARG002 - all of it is here
        """Say whether a checkpoint or an image is there."""
        kind, _, key = source.partition(":")
        return self.has_image(key) if kind == "image" else self.has_checkpoint(key)

    def files_address(self, source: str, paths: Sequence[str]) -> str:  # noqa: ARG002 - as above
        """Return nothing: files are read from the checkpoint."""
        return ""

    def stage_files(self, source: str, paths: Sequence[str], workspace: Path) -> Path:  # noqa: ARG002 - as above
        """Return the root file system of a checkpoint or an image."""
        return self.stage_source(source)

    def stage_source(self, source: str) -> Path:
        """Return the root file system of a checkpoint or an image."""
        return self.source_rootfs(source)

    def remove_image(self, image_id: str) -> None:
        """Remove an image, the tags on it, and the disks that were made of it."""
        from stoneware.platforms.local.disks import disks

        super().remove_image(image_id)
        disks.forget_image(self, image_id)

    def records(self) -> Path:
        """Return the directory of what earlier bakes were made of."""
        directory = self.home / "records"
        directory.mkdir(exist_ok=True, mode=0o700)
        return directory
