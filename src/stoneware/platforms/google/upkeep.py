"""Looking after a project: what nothing uses any more, which images are deprecated, and what has the room."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.files import sha256_hex
from stoneware.platforms.google import errors, names
from stoneware.platforms.google.api import last
from stoneware.platforms.google.builder import CACHES, left_instances
from stoneware.platforms.google.cloud_image import CloudImage
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.resources import volume_name
from stoneware.platforms.google.stages import PREFIX
from stoneware.platforms.upkeep import Item, Row, Unused, Usage, VolumeUsage

_AT_ONCE = 16  # manifests that are read
_GIB = 1 << 30


@dataclass(frozen=True)
class _Seen:
    """What there is: all images of ours, the names of those that disks are made of, all tags."""

    images: tuple[CloudImage, ...]  # the newest first
    disks: tuple[dict[str, Any], ...]
    tags: dict[str, str]

    @property
    def live(self) -> set[str]:
        """Return the ids of images that disks are made of."""
        names = {last(disk.get("sourceImage")) for disk in self.disks}
        return {image.id for image in self.images if image.name in names}


class GoogleUpkeep:
    """Implements `stoneware.platforms.upkeep.Upkeep`. Machines are left alone: `rm` removes them."""

    def __init__(self, images: GoogleImages) -> None:
        self._images = images

    def unused(self, *, everything: bool, wanted: Collection[str], keep: int | None = None) -> Unused:
        """Return what nothing uses; with `keep` also which images are deprecated.

        While a builder is there, only deprecation is considered: a bake may be about to use the rest.
        """
        seen = self._seen()
        marked = tuple(deprecated(seen.images, keep, seen.live | set(wanted), seen.tags)) if keep else ()
        if left_instances(self._images):
            return Unused((), (), (), (), deprecated=marked)
        needed = seen.live | set(wanted) | (set() if everything else set(seen.tags.values()))
        ids = [image.id for image in seen.images]
        kept = [] if everything else [image for image in ids if image in needed]
        return Unused(
            machines=(),
            images=tuple(image for image in ids if image not in needed),
            checkpoints=tuple(self._unused_stages(kept)),
            caches=tuple(name.removeprefix(CACHES) for name in self._images.bucket.names(CACHES)),
            # What is removed needs no mark.
            deprecated=tuple(image for image in marked if image in needed),
        )

    def prune(
        self, what: Unused, *, everything: bool, wanted: Collection[str], keep: int | None = None
    ) -> int:
        """Remove and deprecate what was found and is still so; return how many bytes that freed."""
        # Again: between the list and the user's answer somebody may have begun to use one.
        still = self.unused(everything=everything, wanted=wanted, keep=keep)
        sizes = {image.id: image.archive_bytes or 0 for image in self._seen().images}
        objects = self._images.bucket.sizes("")
        freed = 0
        for image in sorted(set(what.images) & set(still.images)):
            self._images.remove_image(image)
            freed += sizes.get(image, 0)
        for key in sorted(set(what.checkpoints) & set(still.checkpoints)):
            self._images.stages.remove(key)
            freed += sum(size for name, size in objects.items() if name.startswith(f"{PREFIX}{key}/"))
        for name in sorted(set(what.caches) & set(still.caches)):
            self._images.bucket.remove(f"{CACHES}{name}")
            freed += objects.get(f"{CACHES}{name}", 0)
        self._deprecate(sorted(set(what.deprecated) & set(still.deprecated)))
        return freed

    def _deprecate(self, ids: Sequence[str]) -> None:
        images = self._seen().images if ids else ()
        for id in ids:
            found = next((image for image in images if image.id == id), None)
            if found is not None:
                # They are sorted by age, so the first of a family is its newest.
                newest = next(image for image in images if image.family == found.family)
                with contextlib.suppress(errors.MissingError):
                    self._images.mark(found.name, newest.name)
        self._images.forget_list()

    def _seen(self) -> _Seen:
        disks = tuple(self._images.api.items("compute", "aggregated/disks", "list the disks"))
        found = sorted(self._images.cloud_images(), key=lambda image: image.created, reverse=True)
        return _Seen(tuple(found), disks, self._images.tags())

    def _unused_stages(self, kept: Iterable[str]) -> list[str]:
        """Return the keys of stages that are no step, base or source of these images."""
        keys = set(self._images.stages.keys())
        keys |= {name.removeprefix(PREFIX).split("/")[0] for name in self._images.bucket.names(PREFIX)}
        if not keys:
            return []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            manifests = list(pool.map(self._images.manifest, kept))
        needed = {image.removeprefix("sha256:") for image in kept}
        for manifest in manifests:
            needed |= {str(step.get("key", "")) for step in manifest.get("steps", ())}
            # A base's files are kept under this key: see `stages.object_of`.
            needed.add(sha256_hex(str((manifest.get("base") or {}).get("identity", "")).encode()))
        return sorted(keys - needed)

    # -- room ----------------------------------------------------------------------------------------------

    def usage(self, wanted: Collection[str]) -> Usage:
        """Say what images, stages, caches and disks have. A project has no end of room."""
        seen = self._seen()
        needed = seen.live | set(wanted) | set(seen.tags.values())
        sizes = self._images.bucket.sizes("")
        volumes = [disk for disk in seen.disks if (disk.get("labels") or {}).get(names.MARK) == "volume"]
        ours = {image.name for image in seen.images}
        boots = [disk for disk in seen.disks if last(disk.get("sourceImage")) in ours]
        items = {
            "images": tuple(
                Item(image.id, image.id in needed, image.archive_bytes or image.size_bytes)
                for image in seen.images
            ),
            "stages": tuple(
                Item(name, active=False, size=size) for name, size in sizes.items() if name.startswith(PREFIX)
            ),
            "caches": tuple(
                Item(name.removeprefix(CACHES), active=False, size=size)
                for name, size in sizes.items()
                if name.startswith(CACHES)
            ),
            "volumes": tuple(_disk(disk, volume_name(disk)) for disk in volumes),
            "disks": tuple(_disk(disk, str(disk.get("name"))) for disk in boots),
        }
        return Usage(tuple(_row(kind, found) for kind, found in items.items()), items, None)

    def volume_usage(self, name: str) -> VolumeUsage:  # noqa: ARG002 - Google does not say what is in a disk
        """Return nothing: how large a disk is the volume says itself, and it is nowhere on this computer."""
        return VolumeUsage(None, None, "")


def deprecated(
    images: Sequence[CloudImage], keep: int, needed: Collection[str], tags: dict[str, str]
) -> list[str]:
    """Return the images, of some from the newest on, that a policy marks: all but the newest of a family.

    Not one that is needed, nor one that a tag names besides those of its own commit, which each bake sets.
    """
    named = set(needed)
    for reference, image in tags.items():
        found = next((each for each in images if each.id == image), None)
        if found is not None and reference.rpartition(":")[2] not in _own_tags(found.commit):
            named.add(image)
    counted: dict[str, int] = {}
    marked = []
    for each in images:
        if each.deprecated:
            continue
        counted[each.family] = counted.get(each.family, 0) + 1
        if counted[each.family] > keep and each.id not in named:
            marked.append(each.id)
    return marked


def _own_tags(commit: str) -> set[str]:
    """Return the tags that a bake of a commit sets."""
    return {f"{each}{dirty}" for each in (commit, commit[:7]) for dirty in ("", "-dirty") if commit}


def _disk(disk: dict[str, Any], name: str) -> Item:
    size = int(disk.get("sizeGb") or 0) * _GIB
    return Item(name, bool(disk.get("users")), size, size)


def _row(kind: str, items: Sequence[Item]) -> Row:
    idle = [item for item in items if not item.active]
    sizes = [item.size or 0 for item in items]
    return Row(kind, len(items), len(items) - len(idle), sum(sizes), sum(item.size or 0 for item in idle))
