"""Points of no return: what was finalized, and which images may not come back because of it."""

from __future__ import annotations

from collections.abc import Iterable

from stoneware.dataclass import dataclass
from stoneware.image.versions import highest
from stoneware.rollout.journal import Event


@dataclass(frozen=True)
class Finalized:
    """A service's point of no return that was passed; `floor` is empty where the image sets none."""

    time: float
    rollout: str
    service: str
    image: str
    version: str
    floor: str
    command: str = ""
    output: str = ""


def finalized_of(events: Iterable[Event], *, begun: bool = False) -> list[Finalized]:
    """Return what a journal says was finalized, the oldest first; with `begun`, what was begun as well."""
    names = ("service", "image", "version", "floor", "command", "output")
    wanted = ("finalized", "finalizing") if begun else ("finalized",)
    return [
        Finalized(event.time, event.rollout, **{name: str(event.fields.get(name, "")) for name in names})
        for event in events
        if event.name in wanted
    ]


def floors_of(events: Iterable[Event]) -> dict[str, str]:
    """Return the highest floor of each service that has one.

    It holds from the moment before the command is run: one that failed or was killed may have changed data.
    """
    floors: dict[str, str] = {}
    for item in finalized_of(events, begun=True):
        if item.floor:
            floors[item.service] = highest((floors.get(item.service, ""), item.floor))
    return floors
