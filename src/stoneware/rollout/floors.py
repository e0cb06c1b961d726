"""Points of no return: what was finalized, and which images may not come back because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from stoneware.errors import InputError
from stoneware.rollout.journal import Event

FLOOR_LABEL = "stoneware.rollback-floor"
FINALIZE_LABEL = "stoneware.finalize"
_VERSION_LABELS = ("stoneware.version", "org.opencontainers.image.version")


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


def finalized_of(events: Iterable[Event]) -> list[Finalized]:
    """Return what a journal says was finalized, the oldest first."""
    names = ("service", "image", "version", "floor", "command", "output")
    return [
        Finalized(event.time, event.rollout, **{name: str(event.fields.get(name, "")) for name in names})
        for event in events
        if event.name == "finalized"
    ]


def floors_of(events: Iterable[Event]) -> dict[str, str]:
    """Return the highest floor of each service that has one."""
    floors: dict[str, str] = {}
    for item in finalized_of(events):
        if item.floor and (item.service not in floors or is_below(floors[item.service], item.floor)):
            floors[item.service] = item.floor
    return floors


def version_of(labels: Mapping[str, str]) -> str:
    """Return the version that an image says it has, or nothing."""
    return next((labels[name].strip() for name in _VERSION_LABELS if labels.get(name)), "")


def is_below(version: str, floor: str) -> bool:
    """Say whether a version is below a floor; one that is none is below every floor."""
    try:
        return Version(version) < _floor(floor)
    except InvalidVersion:
        return True


def _floor(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise InputError(
            f"the image's label {FLOOR_LABEL}={text} is no version",
            resolution=f"bake it with a version, such as LABEL {FLOOR_LABEL}=4.3",
        ) from error


def checked_floor(labels: Mapping[str, str]) -> str:
    """Return the floor that an image sets, or nothing. Raises InputError where it is no version."""
    text = labels.get(FLOOR_LABEL, "").strip()
    if text:
        _floor(text)
    return text
