"""x-stoneware of a service: gates with their settings, times, and what is refused with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoneware.compose.model import UpdateConfig
from stoneware.errors import InputError
from stoneware.rollout.policies import policies_of
from stoneware.rollout.registry import gate_names, gatekeeper
from tests.cluster.support import BASE, cluster_of

CASES = yaml.load((Path(__file__).parent / "cases" / "policies.yaml").read_text(), yaml.CSafeLoader)


def policies(own: Any, **changes: Any) -> Any:
    cluster = cluster_of(BASE)
    service = replace(cluster.services["app"], extensions={"x-stoneware": own}, **changes)
    return policies_of(replace(cluster, services={**cluster.services, "app": service}))["app"]


@pytest.mark.parametrize("case", CASES["good"], ids=lambda case: case["name"])
def test_what_is_good(case: dict[str, Any]) -> None:
    policy = policies(case["x-stoneware"])
    assert [dict(gate) for gate in policy.gates] == case.get("gates", [])
    for key in ("gate_timeout", "finalize_after"):
        if key in case:
            assert getattr(policy, key) == case[key]
    keeper = gatekeeper({"app": policy})
    assert next(gate.name for gate, _ in keeper.gates["app"]) == "machine"
    assert len(keeper.gates["app"]) == 1 + len(policy.gates)


@pytest.mark.parametrize("case", CASES["bad"], ids=lambda case: case["name"])
def test_what_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(InputError) as told:
        policies(case["x-stoneware"])
    assert case["says"] in f"{told.value.details}"
    assert told.value.location.startswith("machines.yaml:")
    assert "app: " in told.value.details


def test_start_first_is_refused() -> None:
    for name in ("update_config", "rollback_config"):
        with pytest.raises(InputError) as told:
            policies({}, **{name: UpdateConfig(order="start-first")})
        assert "start-first" in told.value.details
        assert "one machine at a time" in told.value.details


def test_all_services_are_told_at_once() -> None:
    cluster = cluster_of(BASE)
    services = {
        name: replace(service, extensions={"x-stoneware": {"gates": ["nix"]}})
        for name, service in cluster.services.items()
    }
    with pytest.raises(InputError) as told:
        policies_of(replace(cluster, services=services))
    assert [line.partition(":")[0] for line in told.value.details.splitlines()] == ["db", "app", "web"]


def test_the_gates_there_are() -> None:
    assert {"exec", "kafka", "postgres"} <= set(gate_names())


def test_a_long_command_gets_its_time() -> None:
    keeper = gatekeeper({"app": policies({"gates": [{"exec": "true", "timeout": "5m"}]})})
    assert keeper.limit > 300
