"""Labels and metadata as the API takes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from stoneware.emulator import errors
from stoneware.emulator.store import Record

_LABEL_CATEGORIES = frozenset({"Ll", "Lo", "Nd", "No", "Nl"})
_METADATA_VALUE = 262_144  # bytes
_METADATA_ALL = 512 << 10  # bytes of keys and values


def labels(given: Mapping[str, str]) -> None:
    """Refuse labels that the API does not take. Raises ApiError (400)."""
    if len(given) > 64:
        raise errors.invalid("labels", len(given), "There may be 64 labels at most.")
    for key, value in given.items():
        if not key or not _is_label(key) or unicodedata.category(key[0]) not in ("Ll", "Lo"):
            raise errors.invalid(
                "labels",
                key,
                "A label's key begins with a lowercase letter; 63 lowercase letters, digits, _ and -.",
            )
        if not _is_label(value):
            raise errors.invalid(
                "labels", value, "A label's value is 63 lowercase letters, digits, _ and - at most."
            )


def _is_label(text: str) -> bool:
    small = len(text) <= 63 and len(text.encode()) <= 128
    return small and all(one in "_-" or unicodedata.category(one) in _LABEL_CATEGORIES for one in text)


def metadata(items: list[Record]) -> None:
    """Refuse metadata that the API does not take. Raises ApiError (400)."""
    seen: set[str] = set()
    size = 0
    for item in items:
        key, value = item.get("key", ""), item.get("value", "").encode()
        if not key:
            raise errors.required("metadata.items.key")
        if key in seen:
            raise errors.invalid("metadata.items.key", key, "Metadata has duplicate keys.")
        if len(value) > _METADATA_VALUE:
            raise errors.invalid("metadata.items.value", key, f"A value has {_METADATA_VALUE} bytes at most.")
        seen.add(key)
        size += len(key) + len(value)
    if size > _METADATA_ALL:
        raise errors.invalid("metadata", size, f"Keys and values have {_METADATA_ALL} bytes at most.")
