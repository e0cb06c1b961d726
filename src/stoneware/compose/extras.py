"""What only one platform has, as texts: what its `x-…` key says of machines and disks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stoneware.compose.truth import truth_of
from stoneware.platforms.infrastructure import EXPOSED, Extension

_PLACES = ("zone", "zones")  # where machines may be: none is made again for another list


def extras_of(extension: Extension | None, *said: Mapping[str, Any]) -> dict[str, str]:
    """Return what a platform's key says, the later ones before the earlier; nothing without a platform."""
    if extension is None:
        return {}
    found, apart = _said(extension.key, *said), (*_PLACES, *extension.live)
    return {name: _text(extension.key, name, value) for name, value in found.items() if name not in apart}


def live_extras_of(extension: Extension | None, *said: Mapping[str, Any]) -> dict[str, str]:
    """Return what of that a living machine takes on."""
    if extension is None:
        return {}
    found, live = _said(extension.key, *said), extension.live
    return {name: _text(extension.key, name, value) for name, value in found.items() if name in live}


def opened_of(
    extension: Extension | None,
    live: Mapping[str, str],
    published: Collection[object],
    exposed: Sequence[str],
) -> dict[str, str]:
    """Return what a living machine takes on, with its image's ports where the file has none to open."""
    if extension is None or not live.get(extension.opens) or published or not exposed:
        return dict(live)
    return {**live, EXPOSED: ",".join(exposed)}


def zones_of(extension: Extension | None, *said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the zones that machines may be in, as the last that names any has them."""
    for one in reversed([_said(extension.key, each) for each in said] if extension else []):
        if listed := one.get("zones") or ([one["zone"]] if one.get("zone") else []):
            return tuple(map(str, listed))
    return ()


def _said(key: str, *said: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in said:
        value = one.get(key)
        if isinstance(value, Mapping):
            found |= {name: it for name, it in value.items() if it is not None and not name.startswith("x-")}
    return found


def _text(key: str, name: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    truth = truth_of(value)
    # A text such as yes is one of Compose's truth values in some places, and a name in others.
    if isinstance(value, str) and truth is not None:
        from stoneware.compose.extensions import flags_of  # most files have true or false, and need no model

        truth = truth if name in flags_of(key) else None
    return str(value) if truth is None else str(truth).lower()
