"""The name of a cluster, without what is in it: reading that whole costs a command a quarter of a second."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from stoneware.compose.dotenv import read_env_file
from stoneware.compose.faults import Faults
from stoneware.compose.files import (
    Source,
    directory_name,
    find_files,
    given_name,
    name_fault,
    normal_name,
    read_sources,
)
from stoneware.compose.interpolation import InterpolationError, interpolate
from stoneware.compose.yamlfile import YamlError, parse, top_scalar
from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class Named:
    """A cluster's name and the files that say it."""

    name: str
    files: tuple[Path, ...]


def read_name(
    files: Sequence[Path],
    *,
    directory: Path,
    environment: Mapping[str, str],
    env_files: Sequence[Path] = (),
    project_name: str | None = None,
) -> Named:
    """Return the name that `load_cluster` would find with these. Whether the rest is right is not looked at.

    Raises InputError: ClusterFileError for files that are no YAML, and for a bad name.
    """
    faults = Faults()
    sources = read_sources(list(files or find_files(directory, environment, env_files)), directory)
    base = sources[0].path.parent
    variables = variables_of(env_files, base, directory, environment, faults)
    parsed = parsed_files(sources, faults)
    name = given_name(project_name, variables) or named(parsed, variables, faults) or directory_name(base)
    faults.check()
    return Named(name, tuple(source.path for source in sources))


def parsed_files(sources: Sequence[Source], faults: Faults) -> list[tuple[Source, list[yaml.Event]]]:
    """Return the events of each file that is YAML; those that are none are faults."""
    parsed: list[tuple[Source, list[yaml.Event]]] = []
    for source in sources:
        faults.file(source.shown)
        try:
            parsed.append((source, parse(source.text, source.shown)))
        except YamlError as error:
            faults.add(error.place, error.reason)
    return parsed


def variables_of(
    env_files: Sequence[Path], base: Path, directory: Path, environment: Mapping[str, str], faults: Faults
) -> dict[str, str]:
    """Return the variables of expressions: the environment, and below it the files of variables.

    `.env` next to the first file is one unless others are named.
    """
    found: dict[str, str] = {}
    default = base / ".env"
    for path in env_files or ([default] if default.is_file() else []):
        shown = ".env" if path == default else str(path)
        scope = ChainMap(dict(environment), found)
        found |= read_env_file(directory / path, scope, functools.partial(faults.unset, place=shown), shown)
    return {**found, **environment}


def named(
    parsed: Sequence[tuple[Source, list[yaml.Event]]], variables: Mapping[str, str], faults: Faults
) -> str:
    """Return what the last file that has `name:` says."""
    # The last file wins, so the first hit from the end is the name.
    for source, events in reversed(parsed):
        found = top_scalar(events, "name", source.shown)
        if found is None:
            continue
        text, place = found
        try:
            name = interpolate(text, variables, lambda _: None)
        except InterpolationError:
            return ""  # said once more, with its place, when the file is built
        if reason := name_fault(name):
            faults.add(place, reason, f"name: {normal_name(name)}" if normal_name(name) else "")
            return normal_name(name)
        return name
    return ""
