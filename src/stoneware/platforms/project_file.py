"""stoneware.toml: which platform a directory's commands use, each platform's settings, and bases of its own.

It is found from a directory upward. What is in a platform's table is that platform's own to check.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.untrusted.bounded import BoundsError, read_input

NAME = "stoneware.toml"
BASES = "bases"  # the table of the bases that a directory names, each with a table of its own
_LARGEST = 1 << 20  # bytes
_TABLE = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_QUOTED = str.maketrans("", "", " \t\"'")  # what a table's name may be written with
_FAULT_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True)
class ProjectFile:
    """One stoneware.toml, or none: then `path` is None and there is nothing in it."""

    path: Path | None = None
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        """Return the platform it names; nothing where it names none."""
        return str(self.values.get("platform", ""))

    def table(self, name: str) -> Mapping[str, Any]:
        """Return a platform's table; an empty one where there is none."""
        found: Mapping[str, Any] = self.values.get(name, {})
        return found

    def place(self, key: str, table: str = "") -> str:
        """Return `FILE:LINE` of a key in a table, or in none; a table in another is `OUTER.INNER`."""
        return f"{self.path}:{_line_of(self.text, key, table)}"


class Project:
    """A directory and its stoneware.toml, which is read once: when something of it is first asked for."""

    def __init__(self, directory: Path, tables: tuple[str, ...] = ()) -> None:
        """Take a directory; `tables` are the names of platforms."""
        # As it is given: the current one may be gone, which only matters to who looks for the file.
        self.directory = directory
        self._tables = tables

    @cached_property
    def file(self) -> ProjectFile:
        """Return its file. Raises InputError for one that cannot be read or says something else."""
        return find_project_file(self.directory, self._tables)


def find_project_file(start: Path, tables: tuple[str, ...] = ()) -> ProjectFile:
    """Return the stoneware.toml of a directory or of the nearest one above it.

    `tables` are the names of platforms. Raises InputError for one that cannot be read or says something else.
    """
    directory = start.absolute()
    for place in (directory, *directory.parents):
        path = place / NAME
        # A directory, or a link to nowhere, is a mistake that is told, as `docker compose` does of its files.
        if os.path.lexists(path):
            return _read(path, tables)
    return ProjectFile()


def _read(path: Path, tables: tuple[str, ...]) -> ProjectFile:
    import tomllib  # most directories have no such file

    try:
        # With the mark that some editors put first.
        text = read_input(path, _LARGEST).decode("utf-8-sig")
        values = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", resolution=f"ls -l {path}") from None
    except (BoundsError, UnicodeDecodeError, RecursionError) as error:
        why = str(error) if isinstance(error, BoundsError) else "is not UTF-8, or nested too deep"
        raise InputError(f"{path} {why}", resolution=f"file {shlex.quote(str(path))}") from None
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(path, str(error)) from None
    file = ProjectFile(path, text, values)
    _check(file, tables)
    return file


def _no_toml(path: Path, why: str) -> InputError:
    found = _FAULT_PLACE.search(why)
    line = found[1] if found and found[1] else "1"
    return InputError(
        f"{NAME} is not TOML: {_FAULT_PLACE.sub('', why)}",
        resolution='write KEY = "value", KEY = true, or [google]',
        location=f"{path}:{line}",
    )


def _check(file: ProjectFile, tables: tuple[str, ...]) -> None:
    known = ", ".join(f"[{name}]" for name in (*tables, BASES))
    for key, value in file.values.items():
        if key == "platform":
            if not isinstance(value, str):
                raise InputError(
                    f"platform has the value {value!r}, which is no text",
                    resolution=f'platform = "{tables[-1] if tables else "local"}"',
                    location=file.place(key),
                )
        elif key not in (*tables, BASES):
            raise InputError(
                f"{NAME} has no key {key!r}",
                details=f"It has platform, and the tables {known}.",
                resolution=instead(key, ("platform", *tables, BASES))
                or "take it out, or put it below the table that it belongs to",
                location=_place_of(file, key),
            )
        elif not isinstance(value, dict):
            raise InputError(
                f"{key} has the value {value!r}, which is no table",
                resolution=f"[{key}]",
                location=file.place(key),
            )


def instead(key: str, known: Iterable[str]) -> str:
    """Return what to type for a key that is not known, "" where no known one is near."""
    from stoneware.machinefile.flags import nearest  # for a mistake only

    near = nearest(key, known)
    return f"write {near} for {key}" if near else ""


def _place_of(file: ProjectFile, key: str) -> str:
    if isinstance(file.values[key], dict):
        for number, line in enumerate(file.text.splitlines(), 1):
            if (found := _table_of(line)) and found.partition(".")[0] == key:
                return f"{file.path}:{number}"
    return file.place(key)


def _line_of(text: str, key: str, table: str) -> int:
    """Return the line that a key is written in. tomllib tells none, so the usual spellings are looked for."""
    current = ""
    # Before any table, `google.project = …` says the same.
    dotted = re.compile(rf"""\s*["']?{re.escape(table)}["']?\s*\.\s*["']?{re.escape(key)}\b""")
    plain = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[.=]""")
    for number, line in enumerate(text.splitlines(), 1):
        if found := _table_of(line):
            current = found
        elif (current == table and plain.match(line)) or (table and not current and dotted.match(line)):
            return number
    return 1


def _table_of(line: str) -> str:
    """Return the name of the table that a line begins, as one text; nothing for another line."""
    found = _TABLE.fullmatch(line)
    return found[1].translate(_QUOTED) if found else ""
