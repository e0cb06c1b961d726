"""From the services of a machines.yaml to how each is rolled out: `deploy.*_config` and `x-stoneware`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from stoneware.compose.model import Cluster, Service
from stoneware.durations import parse_duration
from stoneware.errors import HostError, InputError
from stoneware.machinefile.flags import nearest
from stoneware.rollout import registry
from stoneware.rollout.gate_protocol import SettingError
from stoneware.rollout.model import GATE_TIMEOUT, Policy

KEY = "x-stoneware"
_KEYS = ("gates", "gate_timeout", "finalize_after")


def policies_of(cluster: Cluster) -> dict[str, Policy]:
    """Return the policy of every service. Raises one InputError with all that is wrong, and where."""
    found, problems, place = {}, [], ""
    names = {machine.name for machine in cluster.machines}
    for service in cluster.services.values():
        try:
            found[service.name] = policy_of(service)
            _check_machines(found[service.name], names)
        except InputError as error:
            place = place or str(service.place)
            problems.append("; ".join(filter(None, [f"{service.name}: {error.brief}", error.details])))
    if problems:
        raise InputError(
            f"the cluster {cluster.name} cannot be rolled out like this",
            details="\n".join(problems),
            resolution="correct the file, then: stoneware rollout --plan",
            location=place,
        )
    return found


def gate_problems(
    own: Mapping[str, Any], machines: AbstractSet[str], services: AbstractSet[str]
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Yield what is wrong with the gates of an `x-stoneware`: where below it, why, and what to write."""
    gates = own.get("gates")
    for index, entry in enumerate(gates if isinstance(gates, list) else ()):
        at: tuple[str | int, ...] = ("gates", index)
        try:
            name, settings = _named(entry)
            checked = registry.settings_of(name, settings)
        except HostError:
            continue  # this computer lacks something: a matter for a rollout
        except InputError as error:
            yield (*at, *_within(entry, error)), error.brief, _hint(error)
            continue
        for service in checked.get("services", ()) if name == "postgres" else ():
            if service not in services:
                near = nearest(service, services)
                hint = f"Did you mean {near!r}?" if near else f"There are {', '.join(sorted(services))}."
                yield (*at, name, "services"), f"the cluster has no service {service!r}", hint
        where = checked.get("in", "self") if name == "exec" else "self"
        if where not in {"self", "each", *machines}:
            near = nearest(where, sorted({"self", "each", *machines}))
            hint = (
                f"Did you mean {near!r}?"
                if near
                else f"Write self, each, or one of {', '.join(sorted(machines))}."
            )
            yield (*at, "in"), f"the cluster has no machine {where!r}", hint


def _within(entry: Any, error: InputError) -> tuple[str, ...]:
    """Return the keys below a gate's entry that an error of its settings is about, as far as it names one."""
    if not isinstance(entry, Mapping) or not entry:
        return ()
    setting = error.setting if isinstance(error, SettingError) else None
    name = next(iter(entry))
    inner = entry if "exec" in entry else entry[name]  # exec has its settings next to its name
    if setting is None or not isinstance(inner, Mapping) or setting not in inner:
        return (name,) if isinstance(name, str) else ()
    return (setting,) if inner is entry else (name, setting)


def _hint(error: InputError) -> str:
    unknown = error.name if isinstance(error, registry.UnknownGateError) else ""
    near = nearest(unknown, registry.gate_names()) if unknown else ""
    details = error.details[:1].upper() + error.details[1:].rstrip(".")
    return f"Did you mean {near!r}?" if near else f"{details}." * bool(details)


def policy_of(service: Service) -> Policy:
    """Return the policy of one service. Raises InputError for settings that make no sense."""
    for name, config in (
        ("update_config", service.update_config),
        ("rollback_config", service.rollback_config),
    ):
        if config.order != "stop-first":
            raise InputError(
                f"deploy.{name}.order {config.order} is not possible: "
                "a name, its address and its disks belong to one machine at a time",
                details="write order: stop-first, which is the default",
            )
    own = service.extensions.get(KEY)
    if own is None:
        own = {}
    if not isinstance(own, Mapping):
        raise InputError(f"{KEY} is a mapping with the keys {', '.join(_KEYS)}")
    unknown = [str(key) for key in own if key not in _KEYS]
    if unknown:
        raise InputError(f"{KEY} has no key {unknown[0]!r}", details=f"it has: {', '.join(_KEYS)}")
    return Policy(
        update=service.update_config,
        rollback=service.rollback_config,
        gates=tuple(_gates(own.get("gates"))),
        gate_timeout=_seconds(own, "gate_timeout", GATE_TIMEOUT),
        finalize_after=_seconds(own, "finalize_after", 0.0),
    )


def _check_machines(policy: Policy, names: AbstractSet[str]) -> None:
    for gate in policy.gates:
        where = gate.get("exec", {}).get("in", "self")
        if where not in {"self", "each", *names}:
            raise InputError(f"the exec gate runs in {where!r}, and the cluster has no such machine")


def _seconds(own: Mapping[str, Any], key: str, default: float) -> float:
    value = own.get(key)
    if value is None:
        return default
    # A bool is an int in Python, and YAML has `true` for one.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{KEY}.{key} is a duration, such as 90s or 5m")
    return parse_duration(str(value), f"{KEY}.{key}")


def _gates(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield each gate as `{NAME: settings}`, its settings checked."""
    if value is None:
        return
    if not isinstance(value, list):
        raise InputError(f"{KEY}.gates is a list, such as [kafka]")
    for entry in value:
        name, settings = _named(entry)
        yield {name: dict(registry.settings_of(name, settings))}


def _named(entry: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a gate and its settings: `kafka`, `kafka: {…}`, or `exec: …` and more keys."""
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, Mapping) or not entry or not all(isinstance(key, str) for key in entry):
        raise InputError(
            f"an entry of {KEY}.gates is no gate: {entry!r}",
            details="a gate is a name, or a mapping: exec: [program, argument]",
        )
    if "exec" in entry:
        return "exec", entry
    if len(entry) > 1:
        raise InputError(
            f"{KEY}.gates has an entry with several names: {', '.join(entry)}",
            details="write each gate as an entry of its own, its settings below its name",
        )
    [(name, settings)] = entry.items()
    if settings is not None and not isinstance(settings, Mapping):
        raise InputError(f"the settings of the gate {name} are a mapping, not {settings!r}")
    return name, settings or {}
