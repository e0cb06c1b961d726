"""An image store in a directory: checkpoints are names, images are documents. For plans without machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stoneware.machinefile.recipe import ImageConfig, config_to_document
from tests.platforms.stored_images import StoredImages


@dataclasses.dataclass
class BakeStore(StoredImages):
    """Implements `stoneware.platforms.protocols.Images`."""

    root: Path
    architecture: str = "amd64"
    identity: str | None = "base-1"
    checkpoints: set[str] = dataclasses.field(default_factory=set)
    documents: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # of images
    saves_steps: bool = True
    files: set[tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def known_bases(self) -> tuple[str, ...]:
        return ("debian:12", "debian:13")

    def base_identity(self, reference: str) -> str | None:
        return self.identity

    def shared_base(self, reference: str) -> tuple[str, dict[str, Any] | None] | None:
        return None

    def base_title(self, reference: str) -> str:
        return f"base {reference}"

    def ensure_base(self, reference: str, *, refresh: bool, progress: Callable[[str], None]) -> str:
        raise AssertionError("a plan makes nothing")

    def import_root(self, archive: Path, progress: Callable[[str], None]) -> str:
        raise AssertionError("a plan makes nothing")

    def has_checkpoint(self, key: str) -> bool:
        return key in self.checkpoints

    def checkpoint_document(self, key: str) -> dict[str, Any] | None:
        return {} if key in self.checkpoints else None

    def image_document(self, image_id: str) -> dict[str, Any]:
        return self.documents[image_id]

    def has_files(self, source: str, paths: Sequence[str]) -> bool:
        if self.saves_steps:
            return source.startswith("image:") or source.partition(":")[2] in {
                self.identity,
                *self.checkpoints,
            }
        return (source, tuple(paths)) in self.files

    def files_address(self, source: str, paths: Sequence[str]) -> str:
        return ""

    def stage_files(self, source: str, paths: Sequence[str], workspace: Path) -> Path:
        return self.stage_source(source)

    def stage_source(self, source: str) -> Path:
        return self.root / source

    def build_path(self, build_id: str) -> Path:
        return self.root / "builds" / build_id

    def build_lock_path(self, build_id: str) -> Path:
        return self.root / "locks" / build_id

    def records(self) -> Path:
        (self.root / "records").mkdir(exist_ok=True)
        return self.root / "records"

    def add_image(self, name: str, key: str, config: ImageConfig) -> str:
        image_id = "sha256:" + f"{len(self.manifests):064x}"
        self.documents[image_id] = {"key": key}
        self.manifests[image_id] = {"config": config_to_document(config), "name": name}
        self.references[f"{name}:latest"] = image_id
        return image_id
