"""What a service's keys say of limits."""

from __future__ import annotations

from typing import Any

from stoneware.compose import schema
from stoneware.compose.faults import Faults
from stoneware.compose.nodes import Node, place_of
from stoneware.errors import InputError
from stoneware.model import limits

_PERIOD = 100_000  # microseconds, as Docker has it
_DRIVERS = ("json-file", "local")


def limits_of(model: schema.Service, node: Node, faults: Faults) -> dict[str, Any]:
    """Return the limits of `model.Service` by the names of its fields; what is said twice has to agree."""
    resources = model.deploy.resources if model.deploy else None
    deployed = (resources.limits if resources else None) or schema.Limits()
    cpus = model.cpus if model.cpus is not None else _quotient(model, node, faults)
    given = {
        "mem_limit": (model.mem_limit, deployed.memory),
        "cpus": (cpus, deployed.cpus),
        "pids_limit": (model.pids_limit, deployed.pids),
    }
    for key, (one, other) in given.items():
        if one is not None and other is not None and one != other:
            faults.add(
                place_of(node, (key,)),
                f"{key} and deploy.resources.limits say different things",
                "Keep one of the two.",
            )
    memory, cpus, pids = (other if one is None else one for one, other in given.values())
    size, files = _log(model, node, faults)
    return {
        "memory": memory,
        "cpus": cpus,
        "pids_limit": limits.DEFAULT_PIDS_LIMIT if pids is None else pids,
        "ulimits": limits.in_order(
            limits.Ulimit(name, limit.soft, limit.hard) for name, limit in (model.ulimits or {}).items()
        ),
        "disk": model.storage_opt.size if model.storage_opt else None,
        "log_max_size": size,
        "log_max_file": files,
    }


def _quotient(model: schema.Service, node: Node, faults: Faults) -> float | None:
    """Return the cores that `cpu_quota` and `cpu_period` stand for."""
    if model.cpu_quota is None or model.cpu_quota <= 0:  # to Docker 0 and -1 are no limit
        return None
    period = model.cpu_period or _PERIOD
    if model.cpu_quota < period / 100:
        faults.add(
            place_of(node, ("cpu_quota",)), "cpu_quota is less than a hundredth of cpu_period", "cpus: 0.01"
        )
    return model.cpu_quota / period


def _log(model: schema.Service, node: Node, faults: Faults) -> tuple[int, int]:
    """Return the bytes and number of a console's files; what a console cannot do is warned about."""
    if model.logging is None:
        return limits.DEFAULT_LOG_SIZE, limits.DEFAULT_LOG_FILES
    driver, options = model.logging.driver, dict(model.logging.options or {})
    if driver not in _DRIVERS:
        faults.warn(
            f"{place_of(node, ('logging', 'driver'))}: logging.driver: {driver} has no effect: "
            "a machine's console is kept in files here, see: stoneware logs"
        )
    unknown = [key for key in options if key not in limits.LOG_OPTIONS]
    if unknown and driver in _DRIVERS:  # of another driver it is said already that it has no effect
        faults.warn(
            f"{place_of(node, ('logging', 'options', unknown[0]))}: logging.options: "
            f"{', '.join(unknown)} ha{'ve' if len(unknown) > 1 else 's'} no effect"
        )
    given = {key: value or "" for key, value in options.items() if key in limits.LOG_OPTIONS}
    try:
        return limits.parse_log_options(given if driver in _DRIVERS else {})
    except InputError as error:
        hint = "The options are max-size (10m) and max-file (3)."
        faults.add(place_of(node, ("logging", "options")), f"logging.options: {error.brief}", hint)
        return limits.DEFAULT_LOG_SIZE, limits.DEFAULT_LOG_FILES
