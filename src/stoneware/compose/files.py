"""Which files a cluster is read from, and what it is called."""

from __future__ import annotations

import os
import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoneware.compose.dotenv import read_env_file
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import look_at
from stoneware.model import names
from stoneware.untrusted.bounded import BoundsError, read_input

_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")  # as Compose looks
_OWN = ("machines.yaml", "machines.yml")
NAMES = (*_OWN, *_COMPOSE)
_FILES, _SEPARATOR = "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR"
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


def find_files(
    directory: Path, environment: Mapping[str, str] | None = None, env_files: Sequence[Path] = ()
) -> list[Path]:
    """Return the cluster file of a directory or of the nearest above it, and its override file if any.

    Where the directory has no file of our own name, those that the variable COMPOSE_FILE names, which may be
    in `.env` or the `env_files`. Raises InputError where there is none.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 -- what a link is called is what people know
    own = any((directory / name).is_file() for name in _OWN)
    if not own and (named := _named(directory, environment or {}, env_files)):
        return named
    for place in (directory, *directory.parents):  # as Compose looks for its files
        for name in NAMES:
            found = place / name
            if found.is_file():
                others = (place / other for other in _overrides(name))
                return [found, *[other for other in others if other.is_file()][:1]]
    raise InputError(
        "there is no machines.yaml here, nor in a directory above",
        details=f"Looked in {directory} for {', '.join(NAMES)}.",
        resolution=_EXAMPLE,
    )


def _named(directory: Path, environment: Mapping[str, str], env_files: Sequence[Path]) -> list[Path]:
    found: dict[str, str] = {}
    for path in env_files or [path for path in (directory / ".env",) if path.is_file()]:
        # They are told of when the cluster is read.
        found |= read_env_file(directory / path, ChainMap(dict(environment), found), lambda _: None)
    variables = {**found, **environment}
    parts = variables.get(_FILES, "").split(variables.get(_SEPARATOR) or os.pathsep)
    return [directory / part for part in parts if part]


def _overrides(name: str) -> list[str]:
    """Return what a file's override may be called; any of Compose's names goes with any other of them."""
    stems = ("compose", "docker-compose") if name in _COMPOSE else ("machines",)
    return [f"{stem}.override.{end}" for stem in stems for end in ("yml", "yaml")]


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
            f"cannot read {shown}", details=error.strerror or str(error), resolution=look_at(full)
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
    # The cut may leave a dash at the end.
    return re.sub(r"[^a-z0-9-]", "", re.sub(r"[_. ]+", "-", text.lower())).strip("-")[:63].strip("-")
