"""The `x-…` keys of our own: what they hold is checked as everything else is; all others are yours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError

from stoneware.compose.extension_schema import (
    GoogleCluster,
    GoogleNetwork,
    GoogleService,
    GoogleVolume,
    Local,
    LocalService,
    LocalVolume,
    Stoneware,
)
from stoneware.compose.faults import Faults
from stoneware.compose.keys import matches
from stoneware.compose.nodes import Node, describe, plain
from stoneware.compose.schema_parts import Part
from stoneware.compose.validate import Path, blame, dotted

STONEWARE, LOCAL = "x-stoneware", "x-local"
_OWN: Mapping[str, Mapping[tuple[str, ...], type[Part]]] = {
    STONEWARE: {("services", "*"): Stoneware},
    "x-google": {
        (): GoogleCluster,
        ("services", "*"): GoogleService,
        ("volumes", "*"): GoogleVolume,
        ("networks", "*"): GoogleNetwork,
    },
    LOCAL: {
        ("services", "*"): LocalService,
        ("volumes", "*"): LocalVolume,
        **dict.fromkeys(((), ("networks", "*")), Local),
    },
}
_PAIRS = {"environment", "labels", "args", "sysctls", "options", "driver_opts", "extra_hosts", "tmpfs"}
_ALIKE = 0.75  # of 1; a name of one's own has something else in it
# What is wrong with the gates of one service's x-stoneware, from what is written there, the names of all
# machines and those of all services: where, why, what to write.
GateCheck = Callable[[Mapping[str, Any], AbstractSet[str], AbstractSet[str]], Iterator[tuple[Path, str, str]]]


def check_extensions(root: Node, faults: Faults) -> None:
    """Note what is wrong below the keys of our own, and what may be one of them that is misspelt."""
    _walk(root, root, (), faults)


@functools.cache
def flags_of(key: str) -> frozenset[str]:
    """Return the names below a key of our own whose values are true or false."""
    return frozenset(
        name
        for model in _OWN.get(key, {}).values()
        for name, kind in get_type_hints(model).items()
        if bool in get_args(kind)
    )


def is_virtual(extensions: Mapping[str, Any]) -> bool:
    """Say whether the extensions of a service make its machines virtual ones."""
    try:
        return bool(LocalService.model_validate(extensions.get(LOCAL) or {}).vm)
    except ValidationError:  # noted by `check_extensions`
        return False


def _walk(root: Node, node: Node, path: tuple[str, ...], faults: Faults) -> None:
    for key, each in node.mapping.items():
        if key.startswith("x-"):
            _extension(root, node, path, key, faults)
        # Below these are names of the user's own. A service may be called labels, and is none of them.
        elif key not in _PAIRS or len(path) < 2:
            _walk(root, each, (*path, key), faults)


def _extension(root: Node, node: Node, path: tuple[str, ...], key: str, faults: Faults) -> None:
    place = node.key_place(key)
    known = _OWN.get(key)
    if known is None:
        import difflib  # for a mistake only

        similar = difflib.get_close_matches(key.lower(), _OWN, n=1, cutoff=_ALIKE)
        if similar:
            faults.warn(f"{place}: {key} is an extension key without effect; did you mean {similar[0]!r}?")
        return
    model = next((known[it] for it in known if matches(it, path)), None)
    if model is None:
        where = "below a service, volume or network, or at the top" if () in known else "below a service"
        faults.add(place, f"{dotted((*path, key))}: it has no effect here", f"{key} belongs {where}.")
        return
    value = node.mapping[key]
    if value.value is None:
        return
    if not isinstance(value.value, dict):
        shown = describe(plain(value))
        faults.add(value.place, f"{dotted((*path, key))}: expected a mapping, not {shown}")
        return
    try:
        model.model_validate(plain(value))
    except ValidationError as error:
        blame(error, root, model, (*path, key), faults)
