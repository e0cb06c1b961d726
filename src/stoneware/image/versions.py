"""Versions of images, and the floors of disks: which images may not come back to the data on one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stoneware.errors import InputError
from stoneware.model.labels import FLOOR_LABEL, VERSION_LABELS


def version_of(labels: Mapping[str, str]) -> str:
    """Return the version that an image says it has, or nothing."""
    return next((labels[name].strip() for name in VERSION_LABELS if labels.get(name)), "")


def version_words(version: str) -> str:
    """Return an image's version as a sentence has it."""
    return f"version {version}" if version else "an image without a version"


def is_below(version: str, floor: str) -> bool:
    """Say whether a version is below a floor; one that is none is below every floor."""
    from packaging.version import InvalidVersion, Version  # only where there is a floor

    try:
        return Version(version) < Version(floor)
    except InvalidVersion:
        # What such an image can read is not known.
        return True


def highest(floors: Iterable[str]) -> str:
    """Return the highest of several floors; nothing where none is one."""
    found = ""
    for floor in floors:
        if floor and (not found or is_below(found, floor)):
            found = floor
    return found


def checked_floor(labels: Mapping[str, str]) -> str:
    """Return the floor that an image sets, or nothing. Raises InputError where it is no version."""
    from packaging.version import InvalidVersion, Version

    text = labels.get(FLOOR_LABEL, "").strip()
    try:
        if text:
            Version(text)
    except InvalidVersion as error:
        raise InputError(
            f"the image's label {FLOOR_LABEL}={text} is no version",
            resolution=f"bake it with a version, such as LABEL {FLOOR_LABEL}=4.3",
        ) from error
    return text


def floor_problem(machine: str, labels: Mapping[str, str], floors: Mapping[str, str]) -> str:
    """Say why a machine whose image has these labels must not have some disks; nothing if it may.

    `floors` are those of the disks that it would write to, by name.
    """
    version = version_of(labels)
    for disk, floor in sorted(floors.items()):
        if floor and is_below(version, floor):
            return (
                f"{machine} would boot {version_words(version)} on the disk {disk}, which was finalized: "
                f"{floor} is the lowest now"
            )
    return ""
