"""One of our images as Compute Engine has it: what is in its labels, and how that is read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.platforms.google import labels
from stoneware.platforms.google.instance import seconds

ID = "sha256:"


@dataclass(frozen=True)
class CloudImage:
    """One of our images as Compute Engine has it."""

    id: str  # ours
    name: str  # theirs
    key: str
    size_bytes: int | None
    family: str = ""
    commit: str = ""
    created: float = 0.0
    deprecated: bool = False
    archive_bytes: int | None = None  # that Google has of it


def labels_of(
    name: str, image_id: str, manifest: Mapping[str, Any], document: Mapping[str, Any]
) -> dict[str, str]:
    """Return what the labels of an image say."""
    key, size, commit = str(document.get("key", "")), document.get("size_bytes"), manifest.get("commit")
    told = {
        labels.IMAGE: labels.of_digest(image_id),
        labels.KEY: labels.of_digest(key),
        labels.NAME: labels.of_text(name),
        labels.DIRTY: "true" if manifest.get("dirty") else "false",
    }
    told |= {labels.COMMIT: str(commit)} if commit else {}
    return told | ({labels.SIZE: str(size)} if size is not None else {})


def read_images(listed: Iterator[dict[str, Any]]) -> Iterator[CloudImage]:
    """Yield those of a list that are ours and can be booted. Others may have written what is in it."""
    for image in listed:
        told = image.get("labels")
        told = told if isinstance(told, dict) else {}
        digest = labels.to_digest(str(told.get(labels.IMAGE, "")))
        # An image has its labels while it is PENDING already.
        if digest is None or image.get("status") not in ("READY", None):
            continue
        size = str(told.get(labels.SIZE, ""))
        yield CloudImage(
            id=ID + digest,
            name=str(image.get("name")),
            key=labels.to_digest(str(told.get(labels.KEY, ""))) or "",
            size_bytes=_bytes(size),
            family=str(image.get("family") or ""),
            commit=str(told.get(labels.COMMIT, "")),
            created=seconds(image.get("creationTimestamp")) or 0.0,
            deprecated=_is_deprecated(image),
            archive_bytes=_bytes(str(image.get("archiveSizeBytes") or "")),
        )


def _bytes(text: str) -> int | None:
    # Labels are anybody's: a text that no 64 bits hold is no size.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _is_deprecated(image: Mapping[str, Any]) -> bool:
    mark = image.get("deprecated")
    return isinstance(mark, dict) and mark.get("state", "ACTIVE") != "ACTIVE"
