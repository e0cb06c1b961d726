"""The gates there are: those built in, and those of the entry point group `stoneware.gates`.

An entry point names a class without parameters that is a `stoneware.rollout.gate_protocol.Gate`. Its
module may have a function `settings_of(document)` that returns the settings of the file, checked and filled
in, or raises InputError, which a SettingError is; without one the gate takes no settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stoneware.errors import HostError, InputError
from stoneware.rollout.gate_protocol import Gate
from stoneware.rollout.gatekeeper import CHECK_LIMIT, Gatekeeper
from stoneware.rollout.gates import command
from stoneware.rollout.gates.machine import MachineGate
from stoneware.rollout.model import Policy

GROUP = "stoneware.gates"
# Those of Kafka and PostgreSQL are found as plug-ins are: entry points of our own package.
_BUILT_IN: Mapping[str, Callable[[], Gate]] = {"exec": command.CommandGate}
_MARGIN = 5.0  # seconds that asking takes besides the command itself


class UnknownGateError(InputError):
    """There is no gate of that `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no gate {name!r}", details=f"there are: {', '.join(gate_names())}")
        self.name = name


def gate_names() -> tuple[str, ...]:
    """Return the names of all gates that a file may use, sorted."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def runs_commands(name: str) -> bool:
    """Say whether a gate runs commands inside machines, as its class says."""
    return bool(getattr(_factory(name), "runs_commands", False))


def commands_of(name: str, settings: Mapping[str, Any]) -> Sequence[Sequence[str]] | None:
    """Return the commands that a gate runs inside machines, as its class says; None where it does not say."""
    if not runs_commands(name):
        return ()
    commands = getattr(_factory(name), "commands", None)
    if commands is None:
        return None
    found: Sequence[Sequence[str]] = commands(settings)
    return found


def settings_of(name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the checked settings of a gate. Raises InputError for an unknown gate or setting."""
    check = getattr(sys.modules[_factory(name).__module__], "settings_of", None)
    if check is not None:
        checked: Mapping[str, Any] = check(document)
        return checked
    if document:
        raise InputError(f"the gate {name} has no settings, and {', '.join(document)} was given")
    return document


def gatekeeper(policies: Mapping[str, Policy]) -> Gatekeeper:
    """Return the gates of every service, that of the machines first. Raises InputError, HostError."""
    gates: dict[str, list[tuple[Gate, Mapping[str, Any]]]] = {}
    limit = CHECK_LIMIT
    for service, policy in policies.items():
        gates[service] = [(MachineGate(), {})]
        for entry in policy.gates:
            for name, settings in entry.items():
                gates[service].append((_factory(name)(), settings))
                # A gate has at least the time that the file gives to its command.
                limit = max(limit, float(settings.get("timeout") or 0) + _MARGIN)
    return Gatekeeper(gates, limit=limit)


def _factory(name: str) -> Callable[[], Gate]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        raise UnknownGateError(name)
    return _load(found[0])


def _load(point: EntryPoint) -> Callable[[], Gate]:
    try:
        factory: Callable[[], Gate] = point.load()
    except (ImportError, AttributeError) as error:
        raise HostError(
            f"the gate {point.name} cannot be loaded",
            details=f"{point.value}: {error}",
            resolution="install the package that it belongs to again",
        ) from error
    return factory
