"""Which files a cluster is read from, and what it is called."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model import names
from stoneware.untrusted.bounded import BoundsError, read_input

NAMES = ("machines.yaml", "machines.yml", "compose.yaml", "compose.yml")
_NAME_VARIABLES = ("STONEWARE_PROJECT_NAME", "COMPOSE_PROJECT_NAME")
_EXAMPLE = """\
write machines.yaml, for example:
services:
  web:
    build: .
    ports: ["8080:80"]"""
MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Source:
    """One file: its absolute path, what messages call it, and its text."""

    path: Path
    shown: str
    text: str


def find_files(directory: Path) -> list[Path]:
    """Return the cluster file of a directory or of the nearest above it, and its override file if any.

    Raises InputError where there is none.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 -- what a link is called is what people know
    for place in (directory, *directory.parents):
        for name in NAMES:
            found = place / name
            if found.is_file():
                others = (found.with_name(f"{found.stem}.override.{end}") for end in ("yaml", "yml"))
                return [found, *[other for other in others if other.is_file()][:1]]
    raise InputError(
        "there is no machines.yaml here, nor in a directory above",
        details=f"Looked in {directory} for {', '.join(NAMES)}.",
        resolution=_EXAMPLE,
    )


def read_sources(files: list[Path], directory: Path) -> list[Source]:
    """Return the texts of the files. Raises InputError where one cannot be read."""
    return [_read(directory, path) for path in files]


def _read(directory: Path, path: Path) -> Source:
    full = Path(os.path.abspath(directory / path))  # noqa: PTH100
    shown = os.path.relpath(full, directory) if path.is_absolute() else str(path)
    if shown.startswith("../.."):
        shown = str(full)
    try:
        return Source(full, shown, read_input(full, MOST_BYTES).decode("utf-8-sig"))
    except BoundsError as error:
        raise InputError(f"{shown} {error}", location=shown) from error
    except OSError as error:
        raise InputError(
            f"cannot read {shown}", details=error.strerror or str(error), resolution=f"ls -l {full}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{shown} is not UTF-8", details=f"byte {error.start + 1}: {error.reason}", location=shown
        ) from error


def given_name(project_name: str | None, variables: Mapping[str, str]) -> str:
    """Return the name that `-p` or the environment gives, or nothing. Raises InputError."""
    origins = [("-p", project_name or ""), *((name, variables.get(name, "")) for name in _NAME_VARIABLES)]
    for origin, name in origins:
        if name and (reason := name_fault(name)):
            raise InputError(
                f"{origin}: {reason}", resolution=f"for example: {origin} {normal_name(name) or 'web'}"
            )
        if name:
            return name
    return ""


def directory_name(directory: Path) -> str:
    """Return the name of a cluster without a given name: its directory's. Raises InputError."""
    name = normal_name(directory.name)
    if not name:
        raise InputError(
            f"the directory {str(directory)!r} gives the cluster no name",
            resolution="write name: NAME at the top of the file, or use -p NAME",
        )
    return name


def name_fault(name: str) -> str:
    """Return why a cluster cannot have a name, or nothing."""
    if names.CLUSTER.allows(name):
        return ""
    return f"{name!r} cannot be a cluster's name: small letters, digits and '-' between them, at most 63"


def normal_name(text: str) -> str:
    """Return the name closest to a text, which may be nothing."""
    return re.sub(r"[^a-z0-9-]", "", re.sub(r"[_. ]+", "-", text.lower())).strip("-")[:63].strip("-")
