"""The records of a store, read back: each is what we wrote, or `DamagedError` names it and what to type.

One reader for all of them, so that damage stops only the command about that one thing. What kind of record a
file is, its place says.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from stoneware.errors import StonewareError
from stoneware.model import names
from stoneware.untrusted.bounded import BoundsError, bounded_json, read_bounded

LARGEST = 64 << 20  # bytes of a record


class DamagedError(StonewareError, ValueError):
    """A record of ours that is not what we wrote: a disk failed, or somebody changed it."""

    def __init__(self, path: Path, why: str, *, resolution: str = "", shown: str = "") -> None:
        """`shown` is what people call it, where that is not a path of this computer."""
        super().__init__(
            f"the record {shown or path} is damaged",
            details=f"It {why}.",
            resolution=resolution or remedy(path),
        )
        self.path = path
        self.why = why


_NAME = re.compile(names.RECORDED.pattern)
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}")
_RANGE = re.compile(rf"{_ADDRESS.pattern}/\d{{1,2}}")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_TEXTS = dict[str, str]
_NUMBERS = {"host_port": int, "machine_port": int, "protocol": str}
_PORT = {"host_ip": str, **_NUMBERS}
_LABELLED = {"created?": float, "labels?": _TEXTS}

# A shape is a type, a pattern (of a text), a list of one shape, or a mapping of keys to shapes: `key?` may be
# missing, keys that are not named are not looked at.
_SHAPES: tuple[tuple[str, Any], ...] = (
    (
        "machines/*/state.json",
        {
            "id": _NAME,
            "created": float,
            "started?": float | None,
            "boot?": str,
            "ports?": [_PORT],
            "attached?": bool,
        },
    ),
    (
        "machines/*/spec.json",
        {
            "name": _NAME,
            "source": str,
            "kind": str,
            "volumes": [{"volume": _NAME, "path": str, "read_only?": bool}],
            "networks?": [_NAME],
            "addresses?": types.GenericAlias(dict, (str, _ADDRESS)),
            "ports": [_PORT],
            "restart": str,
            "remove_when_stopped": bool,
            "secrets?": [{"secret": _NAME, "target": str, "version": str, "mode?": int}],
        },
    ),
    (
        "ports.json",
        {
            "publications?": [
                {"store": str, "id": str, "ip": _ADDRESS, "host_ip": _ADDRESS, **_NUMBERS},
            ]
        },
    ),
    ("machines/*/metadata.json", {"attributes?": _TEXTS}),
    ("machines/*/network.json", {"ip?": _ADDRESS, "mac?": str, "id?": str}),
    ("volumes/*/document.json", _LABELLED),
    (
        "snapshots/*/document.json",
        {"created": float, "bytes?": int | None, "charged?": int, "group?": int | None, "volume?": _LABELLED},
    ),
    ("networks/*/document.json", {**_LABELLED, "internal?": bool, "subnets?": [_RANGE]}),
    ("networks/*/addresses.json", types.GenericAlias(dict, (str, _ADDRESS))),
    ("images/*/document.json", {"size_bytes?": int | None}),
    ("tags/*/*.json", {"image": _IMAGE}),
    ("bases/*.json", {"raw": str, "made": float, "wanted": str}),
    ("clusters/*/machines.auto.tfvars.json", {"machines": dict, "networks": dict, "volumes": dict}),
    ("clusters/*/cluster.json", {"secrets?": [str]}),
)
_REMEMBERED, _LARGEST_REMEMBERED = 32 << 20, 1 << 20  # bytes: of all records, of one
_REMEDIES = (
    ("ports.json", "rm {path}    # then restart the machines that publish ports: stoneware ps"),
    ("machines/*/*", "stoneware rm -f {name}    # its volumes stay"),
    ("images/*/manifest.json", "stoneware rmi -f {name:.12}    # then bake it again"),
    ("volumes/*/*", "rm {path}    # its labels are lost, its data stays"),
    ("snapshots/*/*", "rm {path}    # its time and floor are lost, its data stays"),
    ("networks/*/*", "rm {path}    # what it says is lost; `stoneware up` writes it again"),
    ("tags/*/*", "rm {path}    # then tag the image again: stoneware images"),
    ("secrets/*", "rm {path}    # then stoneware up, which puts the secret again"),
    ("clusters/*/*", "stoneware up    # in the directory of the cluster's file: writes the file again"),
)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record, or None where there is none. Raises DamagedError where it is not what we wrote."""
    raw = read_raw(path)
    if raw is None:
        return None
    if _sound.has(path, raw):
        checked: dict[str, Any] = json.loads(raw)
        return checked
    found = checked_record(path, raw)
    # json.loads would take lone surrogates otherwise.
    if len(raw) <= _LARGEST_REMEMBERED and b"\\ud" not in raw and b"\\uD" not in raw:
        _sound.keep(path, raw)
    return found


def checked_record(path: Path, raw: bytes, *, shown: str = "") -> dict[str, Any]:
    """Return the record that some bytes are; `path` says of which kind. Raises DamagedError."""
    try:
        found = bounded_json(raw, LARGEST)
    except BoundsError as error:
        raise DamagedError(path, str(error), shown=shown) from None
    if not isinstance(found, dict):
        raise DamagedError(path, f"holds {_kind(found)} instead of an object", shown=shown)
    shape = next((shape for pattern, shape in _SHAPES if path.match(pattern)), None)
    if fault := fault_of(found, shape) if shape is not None else "":
        raise DamagedError(path, fault, shown=shown)
    return found


class _Sound:
    """What sound records held: commands that wait for machines read the same again and again."""

    def __init__(self) -> None:
        self._held: dict[Path, bytes] = {}
        self._size = 0

    def has(self, path: Path, raw: bytes) -> bool:
        """Say whether a record that holds this has been found sound."""
        return self._held.get(path) == raw

    def keep(self, path: Path, raw: bytes) -> None:
        """Remember a record, and forget all others where they are too many."""
        self._size += len(raw) - len(self._held.get(path, b""))
        if self._size > _REMEMBERED:
            self._held.clear()
            self._size = len(raw)
        self._held[path] = raw


_sound = _Sound()


def read_raw(path: Path) -> bytes | None:
    """Return a record's bytes, or None where there is none. Raises DamagedError where it cannot be read."""
    try:
        return read_bounded(path, LARGEST)
    except FileNotFoundError:
        return None
    except BoundsError as error:
        raise DamagedError(path, str(error)) from None
    except OSError as error:
        raise DamagedError(path, f"cannot be read: {error.strerror}") from error


def whole(path: Path) -> dict[str, Any]:
    """Return a record, or an empty one where there is none or it is damaged: for what is good to know."""
    with contextlib.suppress(DamagedError):
        return read_record(path) or {}
    return {}


def remedy(path: Path) -> str:
    """Return what to type about a record that is damaged."""
    for pattern, words in _REMEDIES:
        if path.match(pattern):
            return words.format(name=shlex.quote(path.parent.name), path=shlex.quote(str(path)))
    return f"rm {shlex.quote(str(path))}"


def fault_of(value: Any, shape: Any, where: str = "") -> str:
    """Return what is wrong with a value as the rest of a sentence: `has no "id"`; nothing where it fits."""
    named = f"has {where or 'a value'} that"
    if isinstance(shape, re.Pattern):
        if not isinstance(value, str) or not shape.fullmatch(value):
            return f"{named} is {str(value)[:60]!r}"
        return ""
    if isinstance(shape, list):
        parts = [(f"{where}[{number}]", item, shape[0]) for number, item in _items(value)]
        return _fault_in(value, list, parts, named)
    if isinstance(shape, Mapping):
        return _fault_in(value, dict, _fields(value, shape, where), named) or _missing(value, shape, where)
    if get_origin(shape) is dict:
        of = get_args(shape)[1]
        parts = [(f"{where}.{key}".lstrip("."), item, of) for key, item in _items(value)]
        return _fault_in(value, dict, parts, named)
    return "" if _is(value, shape) else f"{named} is {_kind(value)}"


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _fields(value: Any, shape: Mapping[str, Any], where: str) -> list[tuple[str, Any, Any]]:
    there = value if isinstance(value, dict) else {}
    named = {key.removesuffix("?"): of for key, of in shape.items()}
    return [(f"{where}.{key}".lstrip("."), there[key], of) for key, of in named.items() if key in there]


def _missing(value: Any, shape: Mapping[str, Any], where: str) -> str:
    for key in shape:
        if not key.endswith("?") and key not in value:
            return f"has no {key!r}{f' in {where}' if where else ''}"
    return ""


def _fault_in(value: Any, kind: type, parts: list[tuple[str, Any, Any]], named: str) -> str:
    if not isinstance(value, kind):
        return f"{named} is {_kind(value)}"
    return next(filter(None, (fault_of(item, of, where) for where, item, of in parts)), "")


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is(value, one) for one in get_args(kind))
    if kind is None or kind is type(None):
        return value is None
    if isinstance(value, bool):  # to Python true is a number
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)  # 1.0 may be written as 1


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
