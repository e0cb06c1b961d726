"""Changes of records: a patch merges what it has and takes away what it sets to null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(record: Mapping[str, Any], given: Mapping[str, Any], nulls: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the fields of a patch; those within fields are merged, lists are replaced.

    `nulls`: what the patch sets to null, as `validate.nulls` finds it.
    """
    changed = dict(record)
    for name, value in given.items():
        have, gone = changed.get(name), nulls.get(name)
        if isinstance(value, dict) and isinstance(have, dict):
            changed[name] = merged(have, value, gone or {})
        else:
            changed[name] = value
    for name, gone in nulls.items():
        if gone is None:
            changed.pop(name, None)
    return changed
