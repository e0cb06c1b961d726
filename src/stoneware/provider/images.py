"""What the provider asks of the images: a store to read and tag, and somebody who can bake."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import canonical_json
from stoneware.image.references import DEFAULT_TAG, Catalogue, parse_reference, tags_of
from stoneware.records import DamagedError


class Images(Catalogue, Protocol):
    """A store of images."""

    def manifest(self, image_id: str) -> dict[str, Any]:
        """Return an image's manifest."""
        ...

    def remove_tag(self, reference: str) -> None:
        """Remove a tag; a missing one is no error."""
        ...

    def remove_image(self, image_id: str) -> None:
        """Remove an image and the tags on it; a missing one is no error."""
        ...


@dataclass(frozen=True)
class BakeRequest:
    """A bake that is wanted. `names` are NAME or NAME:TAG, the first is the image's own."""

    context: Path
    names: tuple[str, ...]
    file: Path | None = None
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    no_cache: bool = False


@dataclass(frozen=True)
class Baked:
    """What a bake gives, or would give: `image_id` is None where steps would have to run first."""

    image_id: str | None
    tags: tuple[str, ...]
    commit: str | None
    dirty: bool
    warnings: tuple[str, ...] = ()


class Baker(Protocol):
    """Somebody who can bake."""

    def plan(self, request: BakeRequest) -> Baked:
        """Say what a bake would give; touches nothing. Raises InputError."""
        ...

    def bake(self, request: BakeRequest) -> Baked:
        """Bake an image and tag it. Raises InputError or BuildError."""
        ...


def find_image(images: Images, name: str, *, tag: str = "", commit: str = "", newest: bool = False) -> str:
    """Return the id of a name's image with a tag (default: latest), of a commit, or of the newest one.

    `commit` may be the beginning of one; images of a work tree that differed from it do not count. Raises
    InputError.
    """
    if not commit and not newest:
        return _tagged(images, name, tag)
    own = [(image, images.manifest(image)) for image in _images_of(images, name)]
    if commit:
        own = [
            (image, manifest)
            for image, manifest in own
            if not manifest["dirty"] and str(manifest["commit"] or "").startswith(commit)
        ]
    if not own:
        what = f" of the commit {commit}" if commit else ""
        raise InputError(f"there is no image {name!r}{what}", resolution=f"stoneware images {name}")
    # By the id as well: of two that were made in one second it is always the same.
    return max(own, key=lambda pair: (pair[1]["created"], pair[0]))[0]


def _tagged(images: Images, name: str, tag: str) -> str:
    reference = str(parse_reference(f"{name}:{tag or DEFAULT_TAG}"))
    found = images.tags().get(reference)
    if found is None:
        raise InputError(f"there is no image {reference!r}", resolution="stoneware images")
    return found


def _images_of(images: Images, name: str) -> list[str]:
    """Return the images of a name: by a tag of theirs, or by their own name."""
    tagged = {found for reference, found in images.tags().items() if reference.rpartition(":")[0] == name}
    return [image for image in images.image_ids() if image in tagged or _own_name(images, image) == name]


def _own_name(images: Images, image: str) -> str:
    with contextlib.suppress(DamagedError):  # which is no other image's fault
        return str(images.manifest(image)["name"])
    return ""


def described(images: Images, image_id: str) -> dict[str, Any]:
    """Return what is computed of an image in the data source."""
    manifest = images.manifest(image_id)
    return {
        "id": image_id,
        "image_id": image_id,
        "tags": tags_of(images.tags(), image_id),
        "commit": manifest["commit"],
        "dirty": manifest["dirty"],
        "created": manifest["created"],
        "architecture": manifest["architecture"],
        "ports": list(manifest["config"]["ports"]),
        "volumes": list(manifest["config"]["volumes"]),
        "labels": dict(manifest["config"]["labels"]),
        "manifest": canonical_json(manifest).decode(),
    }
