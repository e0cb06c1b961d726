"""`profiles`: services that exist only when their profile is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stoneware.compose.nodes import Node, rebuilt

VARIABLE = "COMPOSE_PROFILES"
_ALL = "*"


def wanted_profiles(given: Collection[str], variables: Mapping[str, str]) -> frozenset[str]:
    """Return the profiles that are asked for: those given, else those of the variable, between commas."""
    named = given or variables.get(VARIABLE, "").split(",")
    return frozenset(filter(None, (name.strip() for name in named)))


def without_inactive(root: Node, wanted: frozenset[str]) -> tuple[Node, dict[str, tuple[str, ...]]]:
    """Return a file without the services of other profiles, and these services with their profiles."""
    services = root.get("services")
    if services is None or not isinstance(services.value, dict):
        return root, {}
    inactive: dict[str, tuple[str, ...]] = {}
    for name, service in services.value.items():
        profiles = service.get("profiles")
        named = tuple(each.text for each in profiles.items) if profiles else ()
        if named and _ALL not in wanted and not wanted & set(named):
            inactive[name] = named
    if not inactive:
        return root, {}
    kept = {name: node for name, node in services.value.items() if name not in inactive}
    return rebuilt(root, {**root.mapping, "services": rebuilt(services, kept)}), inactive
