"""The runtime configuration of a service: `env_file` and `environment`."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

from stoneware.compose import schema
from stoneware.compose.canonical import sentence
from stoneware.compose.dotenv import read_env_file
from stoneware.compose.faults import Faults
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, place_of
from stoneware.compose.settings import absolute
from stoneware.config import parse_env_file
from stoneware.config.encoding import check_name
from stoneware.dataclass import dataclass
from stoneware.errors import InputError


@dataclass(frozen=True)
class Setting:
    """A value of the environment, and where it comes from."""

    value: str
    place: Place


def environment_of(
    model: schema.Service, node: Node, directory: Path, variables: Mapping[str, str], faults: Faults
) -> dict[str, Setting]:
    """Return the values for a service's machines, templates still in them.

    The files come in their order, then `environment`; a key without a value has that of our environment, and
    is not there where we have none.
    """
    found: dict[str, Setting] = {}
    for index, each in enumerate(model.env_file or ()):
        place = place_of(node, ("env_file", index, "path"))
        # An expression in a later file may use what an earlier one sets.
        known = {key: setting.value for key, setting in found.items()}
        for key, value in _file(each, place, directory, ChainMap(dict(variables), known), faults).items():
            found[key] = Setting(value, place)
    for key, given in (model.environment or {}).items():
        value_or_none = variables.get(key) if given is None else given
        if value_or_none is None:
            found.pop(key, None)
        else:
            found[key] = Setting(value_or_none, place_of(node, ("environment", key)))
    for key, setting in found.items():
        try:
            check_name(key)
        except InputError as error:
            faults.add(setting.place, sentence(error), "Write NAME: value.")
        if "\0" in setting.value:  # no process can have it in its environment
            faults.add(setting.place, f"the value of {key} has a NUL byte")
    return found


def _file(
    each: schema.EnvFile, place: Place, directory: Path, variables: Mapping[str, str], faults: Faults
) -> dict[str, str]:
    path = absolute(each.path, directory)
    if not path.exists():
        if each.required:
            hint = f"Write the file, or: {{path: {each.path}, required: false}}"
            faults.add(place, f"there is no env file {each.path}", hint)
        return {}
    try:
        if each.format == "raw":
            return parse_env_file(path, variables)
        return read_env_file(path, variables, functools.partial(faults.unset, place=each.path), each.path)
    except InputError as error:
        where = f" ({error.location.replace(str(path), each.path)})" if error.location else ""
        faults.add(place, sentence(error) + where, error.resolution)
        return {}
