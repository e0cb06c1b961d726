"""The kinds of values that fields of a machine hold: how each is written, read and shown.

A kind's plain form is JSON data. It is the same in a machine's record and in Terraform's variables, but for
file modes, which people write in octal digits there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.model import field_types as types
from stoneware.model import ingress
from stoneware.model.field_types import Type
from stoneware.model.limits import UNLIMITED, Ulimit
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.model.runtime import document_of, process_of, system_of, words_of

Shown = str | Mapping[str, str]  # the value in words; or each of its entries, by what tells it from others
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # Docker's default for -p; nothing is bound here


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    `type` is that of Terraform. `write` returns a value as JSON data, `to_terraform` as Terraform's variables
    have it. `read` takes both, and what a configuration of Terraform says where it leaves parts out; it
    raises KeyError, TypeError or ValueError for anything else. `read` is never called with None, which stands
    for the field's default. `show` gives the words of a plan. The order of `unordered` entries says nothing.
    """

    type: Type
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    show: Callable[[Any], Shown]
    unordered: bool = False
    write_terraform: Callable[[Any], Any] | None = None

    def to_terraform(self, value: Any) -> Any:
        """Return a value as Terraform's variables have it."""
        return (self.write_terraform or self.write)(value)


def _same(value: Any) -> Any:
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no mapping")
    return dict(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _listed(value)))


def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is no list")
    return value


def _items(read: Callable[[Mapping[str, Any]], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(map(read, _listed(value)))


def _said(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry says: Terraform has None for what was left out."""
    return {key: value for key, value in item.items() if value is not None}


def _write_items(value: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict[str, Any](vars(item)) for item in value]


def _port(item: Mapping[str, Any]) -> PortMapping:
    given = {"host_port": 0, **_said(item)}
    # Terraform has one type for numbers, and may give 80 as 80.0.
    numbers = {key: int(given[key]) for key in ("host_port", "machine_port")}
    address = given.get("host_ip") or ANY_ADDRESS
    return PortMapping(**{**given, **numbers, "host_ip": address, "protocol": given.get("protocol") or "tcp"})


def _ulimit(item: Mapping[str, Any]) -> Ulimit:
    given = _said(item)
    soft = int(given["soft"])
    return Ulimit(**{**given, "soft": soft, "hard": int(given.get("hard", soft))})


def _secret(item: Mapping[str, Any]) -> SecretMount:
    given = _said(item)
    given |= {key: int(given[key]) for key in ("uid", "gid") if key in given}
    return SecretMount(**{**given, "mode": _mode(given.get("mode", ""))})


def _mode(value: str | int) -> int:
    if isinstance(value, str):
        return int(value, 8) if value else SecretMount.mode
    return int(value)


def octal(mode: int) -> str:
    """Return a file mode as it is written: four octal digits."""
    return f"{mode:04o}"


def port_words(port: PortMapping) -> str:
    """Return a port mapping as Docker shows it."""
    where = "" if port.host_ip in ("", ANY_ADDRESS) else f"{port.host_ip}:"
    return f"{where}{port.host_port or '*'}->{port.machine_port}/{port.protocol}"


def secret_words(use: SecretMount) -> str:
    """Return where a machine has a secret, and which version of it."""
    owner = f" {use.uid}:{use.gid}" if use.uid or use.gid else ""
    return f"{use.target} {octal(use.mode)}{owner} version {use.version or 'not known'}"


def amount(number: Callable[[Any], float], unit: str) -> Kind:
    """Return the kind of a number of something; None is no limit."""

    def show(value: float | None) -> str:
        return "no limit" if value is None or value == UNLIMITED else f"{value:.15g} {unit}"

    return Kind(types.NUMBER, _same, number, show)


TEXT = Kind(types.STRING, _same, _text, lambda value: value or "none")
FLAG = Kind(types.BOOL, _same, bool, lambda value: "yes" if value else "no")
BYTES = amount(int, "bytes")
CORES = amount(float, "cores")
FILES = amount(int, "files")
PROCESSES = amount(lambda value: int(value) or UNLIMITED, "processes")  # 0 is Docker's other word for any
SECONDS = Kind(types.NUMBER, _same, float, lambda value: f"{value:g}s")
NAMES = Kind(types.STRINGS, list, _texts, lambda value: dict.fromkeys(value, ""), unordered=True)
TEXT_MAP = Kind(types.STRING_MAP, _mapping, _mapping, _mapping)
PATH_MAP = Kind(
    types.STRING_MAP,
    lambda value: {name: str(path) for name, path in value.items()},
    lambda value: {name: Path(path) for name, path in value.items()},
    lambda value: {name: str(path) for name, path in value.items()},
)
VOLUMES = Kind(
    types.VOLUMES,
    _write_items,
    _items(lambda item: VolumeMount(**_said(item))),
    lambda value: {it.path: f"{it.volume}{' read-only' if it.read_only else ''}" for it in value},
    unordered=True,
)
PORTS = Kind(
    types.PORTS,
    _write_items,
    _items(_port),
    lambda value: {port_words(port): "" for port in value},
    unordered=True,
)
ULIMITS = Kind(
    types.ULIMITS,
    _write_items,
    _items(_ulimit),
    lambda value: {limit.name: f"{limit.soft}:{limit.hard}" for limit in value},
    unordered=True,
)
SECRETS = Kind(
    types.SECRETS,
    _write_items,
    _items(_secret),
    lambda value: {use.target: secret_words(use) for use in value},
    unordered=True,
    write_terraform=lambda value: [{**vars(use), "mode": octal(use.mode)} for use in value],
)
PROCESS = Kind(types.PROCESS, document_of, process_of, words_of)
SYSTEM = Kind(types.SYSTEM, document_of, system_of, words_of)
INGRESS = Kind(types.STRINGS, ingress.document_of, ingress.ingress_of, ingress.words_of)
