"""Instances, or disks, of two zones that have one name: which of them is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from stoneware.errors import InputError
from stoneware.platforms.google import names
from stoneware.platforms.google.instance import zone_of

Found = Mapping[str, Any]
_Found = TypeVar("_Found", bound=Found)


def by_name(found: Iterable[Found]) -> dict[str, list[Found]]:
    """Return what there is of each name: more than one where zones have the same, and none is meant more."""
    groups: dict[str, list[Found]] = {}
    for one in found:
        groups.setdefault(str(one["name"]), []).append(one)
    return {name: _meant(group) for name, group in groups.items()}


def only(found: Iterable[_Found], kind: str) -> _Found | None:
    """Return the one that is meant, or None where there is none. Raises InputError where two may be."""
    meant = _meant(list(found))
    if len(meant) < 2:
        return next(iter(meant), None)
    name, zones = str(meant[0]["name"]), sorted(map(zone_of, meant))
    mark = (meant[0].get("labels") or {}).get(names.MARK)
    change = f"--remove-labels={names.MARK}" if mark else f"--update-labels={names.MARK}={_MARKS[kind]}"
    raise InputError(
        f"{len(zones)} {kind}s are called {name}: in the zones {', '.join(zones)}",
        details="Nothing tells which is the cluster's: Stoneware's label and their use are alike.",
        resolution=f"gcloud compute {kind}s update {name} --zone ZONE {change}    # of the one that is "
        + ("not meant" if mark else "meant"),
    )


_MARKS = {"instance": "machine", "disk": "volume"}


def _meant(group: list[_Found]) -> list[_Found]:
    """Return those that are ours; of these, those in use."""
    best = max(map(_rank, group), default=None)
    return [one for one in group if _rank(one) == best]


def _rank(one: Found) -> tuple[bool, bool]:
    """Say of an instance whether it is a machine of ours, and runs; of a disk the same of its use."""
    ours = (one.get("labels") or {}).get(names.MARK) in _MARKS.values()
    return ours, bool(one.get("users")) or one.get("status") == "RUNNING"
