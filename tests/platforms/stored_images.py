"""Images and their tags in memory, which the stores of tests have in common."""

from __future__ import annotations

from typing import Any


class StoredImages:
    """Implements what `stoneware.platforms.protocols.Images` has of images and tags."""

    def __init__(self) -> None:
        self.manifests: dict[str, dict[str, Any]] = {}
        self.references: dict[str, str] = {}

    def tags(self) -> dict[str, str]:
        return dict(sorted(self.references.items()))

    def image_ids(self) -> list[str]:
        return sorted(self.manifests)

    def has_image(self, image_id: str) -> bool:
        return image_id in self.manifests

    def manifest(self, image_id: str) -> dict[str, Any]:
        return self.manifests[image_id]

    def set_tag(self, reference: str, image_id: str) -> None:
        self.references[reference] = image_id

    def remove_tag(self, reference: str) -> None:
        self.references.pop(reference, None)

    def remove_image(self, image_id: str) -> None:
        self.manifests.pop(image_id, None)
        self.references = {ref: found for ref, found in self.references.items() if found != image_id}
