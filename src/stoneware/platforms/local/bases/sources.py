"""Where bases are made from: Debian's releases, and what `[bases."NAME:TAG"]` of a stoneware.toml says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.image.references import parse_reference
from stoneware.platforms.project_file import BASES, Project, ProjectFile, instead

KNOWN: Mapping[str, str] = {"debian:12": "bookworm", "debian:13": "trixie"}
_SUITE = re.compile(r"[a-z0-9][a-z0-9./+-]{0,63}")
_MIRROR = re.compile(r"(?:https?|file)://?[^\s\[\]]{1,500}")
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_KEYS = ("suite", "mirror", "components", "keyring", "frozen")
_EXAMPLE = 'suite = "noble", mirror = "https://…", components = ["main"], keyring = "/usr/…", frozen = false'


@dataclass(frozen=True)
class Source:
    """Where a base is made from.

    Without a mirror it is the one that this computer has its own Debian from, else mmdebstrap's. `keyring`
    has the keys that sign the mirror's suites; without one, those that this computer's apt trusts count.
    `frozen`: the mirror is a snapshot, whose suites are taken although they have expired. `places` are
    FILE:LINE of the keys, where a stoneware.toml has them.
    """

    suite: str
    mirror: str = ""
    components: tuple[str, ...] = ("main",)
    keyring: str = ""
    frozen: bool = False
    places: Mapping[str, str] = field(default_factory=dict, compare=False)


def sources(project: Project | None) -> dict[str, Source]:
    """Return all bases that can be made for a project, by their references. Raises InputError."""
    found = {reference: Source(suite) for reference, suite in KNOWN.items()}
    if project is not None:
        found |= own_bases(project.file)
    return found


def own_bases(file: ProjectFile) -> dict[str, Source]:
    """Return the bases that a stoneware.toml names. Raises InputError with the place of what is wrong."""
    return {name: _base(file, name, table) for name, table in file.table(BASES).items()}


def _base(file: ProjectFile, name: str, table: Any) -> Source:
    inner = f"{BASES}.{name}"
    place = file.place(name, BASES) if not isinstance(table, dict) else file.place("suite", inner)
    if name in KNOWN or ":" not in name:
        why = "is a base of Stoneware's own" if name in KNOWN else "has no tag"
        raise InputError(f"the base {name} {why}", resolution='[bases."debian:sid"]', location=place)
    try:
        parse_reference(name)
    except InputError as error:
        raise InputError(
            error.brief, details=error.details, resolution=error.resolution, location=place
        ) from None
    if not isinstance(table, dict):
        raise InputError(f"the base {name} is no table", resolution=f'[bases."{name}"]', location=place)
    for key in table:
        if key not in _KEYS:
            raise InputError(
                f"the base {name} has no key {key!r}",
                details=f"The keys are {', '.join(_KEYS)}.",
                resolution=instead(key, _KEYS) or "take it out",
                location=file.place(key, inner),
            )
    components = table.get("components", ["main"])
    _check(_is(_SUITE, table.get("suite")), file, inner, "suite")
    _check("mirror" not in table or _is(_MIRROR, table["mirror"]), file, inner, "mirror")
    listed = isinstance(components, list) and components and all(_is(_COMPONENT, each) for each in components)
    _check(bool(listed), file, inner, "components")
    frozen = table.get("frozen", False)
    _check(isinstance(frozen, bool), file, inner, "frozen")
    keyring = table.get("keyring", "")
    # It goes between brackets in a line of sources.list.
    _check(isinstance(keyring, str) and "]" not in keyring, file, inner, "keyring")
    # Said from where the file is, whatever directory the command was given in.
    if keyring and file.path is not None:
        keyring = str(file.path.parent / keyring)
    places = {key: file.place(key, inner) for key in table}
    return Source(table["suite"], table.get("mirror", ""), tuple(components), keyring, frozen, places)


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check(fine: bool, file: ProjectFile, table: str, key: str) -> None:
    if fine:
        return
    name = table.partition(".")[2]
    given = file.table(BASES)[name].get(key)
    said = f"{key} has the value {given!r}" if given is not None else f"there is no {key}"
    raise InputError(f"the base {name}: {said}", resolution=_EXAMPLE, location=file.place(key, table))
