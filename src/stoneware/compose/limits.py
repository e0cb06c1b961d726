"""What a service's keys say of limits."""

from __future__ import annotations

from typing import Any

from stoneware import limits
from stoneware.compose import schema
from stoneware.compose.faults import Faults
from stoneware.compose.nodes import Node, place_of


def limits_of(model: schema.Service, node: Node, faults: Faults) -> dict[str, Any]:
    """Return the limits of `model.Service` by the names of its fields; what is said twice has to agree."""
    resources = model.deploy.resources if model.deploy else None
    deployed = (resources.limits if resources else None) or schema.Limits()
    given = {
        "mem_limit": (model.mem_limit, deployed.memory),
        "cpus": (model.cpus, deployed.cpus),
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
    options = (model.logging.options if model.logging else None) or {}
    size, files = limits.parse_log_options({key: value or "" for key, value in options.items()})
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
