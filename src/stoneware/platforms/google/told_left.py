"""What somebody's killed commands left that costs money, in a line or two at the end of another command.

It is taken from the lists that the command has made itself, looked at once more, and never an error: `doctor`
lists all of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stoneware.errors import StonewareError
from stoneware.platforms.google import labels, names
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.instance import seconds, zone_of

_YOUNG = 1200.0  # seconds: most bakes have ended by then, and what has just lost its machine is being removed
_MOST = 3  # that are named
_ALL = "stoneware doctor --platform google"


def told(api: Api, own: Callable[[str], bool], now: float) -> list[str]:
    """Return the sentences. `own` says whether a bake, by its id, is one that this computer takes care of."""
    try:
        with api.briefly():
            return [*_builders(api, own, now), *_disks(api, now)]
    except StonewareError:
        return []


def _builders(api: Api, own: Callable[[str], bool], now: float) -> Iterable[str]:
    if api.looks.instances is None:
        what, query = "list the builders", f"labels.{labels.BAKE}:*"
        api.looks.saw_instances(api.items("compute", "aggregated/instances", what, filter=query))
    bakes = [
        one
        for one in api.looks.instances or ()
        if (bake := (one.get("labels") or {}).get(labels.BAKE)) and not own(str(bake)) and _old(one, now)
    ]
    if there := _still(api, "instances", bakes):
        yield _sentence(api, "instances", "builders of other computers, left or of long bakes", there, bakes)


def _disks(api: Api, now: float) -> Iterable[str]:
    free = [
        disk
        for disk in api.looks.disks or ()
        if not disk.get("users")
        # A volume outlives its machines on purpose.
        and (disk.get("labels") or {}).get(names.MARK) != "volume"
        and _old(disk, now)
    ]
    if there := [disk for disk in _still(api, "disks", free) if not disk.get("users")]:
        yield _sentence(api, "disks", "disks whose machines are gone", there, free)


def _old(one: Mapping[str, Any], now: float) -> bool:
    made = seconds(one.get("creationTimestamp"))
    return made is not None and now - made > _YOUNG


def _still(api: Api, kind: str, listed: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first of a list as they are now: the command itself may have removed some."""
    found = (
        api.find("compute", f"zones/{zone_of(one)}/{kind}/{one.get('name')}", "look at what is left")
        for one in listed[:_MOST]
    )
    return [one for one in found if one is not None]


def _sentence(
    api: Api, kind: str, what: str, there: list[Mapping[str, Any]], listed: list[Mapping[str, Any]]
) -> str:
    """Return what it is, and the command that removes it: those of one zone, for gcloud takes one."""
    zone = zone_of(there[0])
    called = [str(one.get("name")) for one in there if zone_of(one) == zone]
    place = ["--zone", zone, "--project", api.settings.project]
    command = ["gcloud", "compute", kind, "delete", *called, *place]
    # Those that were looked at again and are gone are no others.
    others = len(listed) - len(called) - (min(len(listed), _MOST) - len(there))
    more = f"; {_ALL} lists {others} more" if others > 0 else ""
    return f"{what} cost money: {shlex.join(command)}{more}"
