"""Names of images: `NAME:TAG`, or the id (or a prefix of it) that a tag stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import InputError

_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
DEFAULT_TAG = "latest"


@dataclass(frozen=True, order=True)
class Reference:
    """A parsed `NAME:TAG`."""

    name: str
    tag: str = DEFAULT_TAG

    def __str__(self) -> str:
        """Return `NAME:TAG`."""
        return f"{self.name}:{self.tag}"


class Catalogue(Protocol):
    """What resolving needs of a store."""

    def tags(self) -> dict[str, str]:
        """Return every `NAME:TAG` with the id it stands for."""
        ...

    def image_ids(self) -> list[str]:
        """Return the ids of all images."""
        ...


def parse_reference(text: str) -> Reference:
    """Parse `NAME` or `NAME:TAG` by Docker's rules. Raises InputError."""
    name, colon, tag = text.partition(":")
    if not _NAME.fullmatch(name) or len(name) > 128:
        raise InputError(
            f"invalid image name {name!r}",
            details="A name has lower-case letters and digits, with '.', '_', '-' or '/' between them.",
            resolution=f"try {_suggest_name(name)!r}",
        )
    if colon and not _TAG.fullmatch(tag):
        raise InputError(
            f"invalid tag {tag!r} in {text!r}",
            details="A tag has letters, digits, '_', '.' and '-', at most 128 of them.",
        )
    return Reference(name, tag or DEFAULT_TAG)


def _suggest_name(name: str) -> str:
    return re.sub(r"[^a-z0-9/]+", "-", name.lower()).strip("-/") or "my-image"


def default_name(directory_name: str) -> str:
    """Return the image name for a context directory, as Compose names a project after its directory."""
    return _suggest_name(directory_name)


class UnknownImageError(InputError):
    """No image has that name or id."""


def resolve_image(catalogue: Catalogue, text: str) -> str:
    """Return the id that `NAME[:TAG]`, an id or its unique prefix stands for.

    Raises InputError, UnknownImageError where there is none.
    """
    tags = catalogue.tags()
    found = tags.get(text) or tags.get(f"{text}:{DEFAULT_TAG}")
    if found:
        return found
    match = _ID.fullmatch(text)
    if match:
        hits = [image for image in catalogue.image_ids() if image.startswith(f"sha256:{match[1]}")]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise InputError(f"the id {text!r} is not unique", details="\n".join(sorted(hits)))
    raise UnknownImageError(
        f"there is no image {text!r}",
        details=_nearest(text, tags),
        resolution=f"stoneware bake -t {_suggest_name(text.partition(':')[0])} .    # or: stoneware images",
    )


def _nearest(text: str, tags: Iterable[str]) -> str:
    import difflib  # for a mistake only

    near = difflib.get_close_matches(text, sorted(tags), n=3)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def tags_of(tags: Mapping[str, str], image_id: str) -> list[str]:
    """Return the tags that stand for an image, sorted."""
    return sorted(ref for ref, found in tags.items() if found == image_id)


def short_id(image_id: str) -> str:
    """Return the first twelve digits of an image's id, as Docker shows it."""
    return image_id.removeprefix("sha256:")[:12]
