"""A part of a cluster: services and machines that were asked for, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from stoneware.cluster.desired import desire
from stoneware.cluster.model import Action
from stoneware.cluster.plan import make_plan, needs_rollout
from stoneware.cluster.selection import Selection, limited, limited_plan, part_of, select
from stoneware.cluster.tfvars import to_tfvars
from stoneware.errors import InputError
from stoneware.model.machine import Phase
from tests.cluster.support import (
    BASE,
    VERSIONS,
    cluster_of,
    observation_of,
    patched,
    some_images,
    there,
    wanted_of,
)

pytestmark = pytest.mark.pure
SERVICES = {"db": ["db-1"], "app": ["app-1", "app-2"], "web": ["web-1"]}
NEEDS = {"db": [], "app": ["db"], "web": ["app"]}


@pytest.mark.parametrize(
    ("names", "asked", "needed"),
    [
        (["db"], {"db-1"}, set()),
        (["app"], {"app-1", "app-2"}, {"db-1"}),
        (["app-2"], {"app-2"}, {"db-1"}),
        (["web"], {"web-1"}, {"app-1", "app-2", "db-1"}),
        (["web", "app-1"], {"web-1", "app-1"}, {"app-2", "db-1"}),
    ],
)
def test_what_names_mean(names: list[str], asked: set[str], needed: set[str]) -> None:
    found = select(names, SERVICES, NEEDS)
    assert found.asked == asked
    assert found.needed == needed


def test_a_name_that_means_nothing() -> None:
    with pytest.raises(InputError, match="no service and no machine 'ap'") as raised:
        select(["ap"], SERVICES, NEEDS)
    assert raised.value.resolution == "stoneware up app"
    with pytest.raises(InputError) as raised:
        select(["zzz"], SERVICES, NEEDS)
    assert raised.value.resolution == "stoneware config --services"


def _plan(
    names: list[str],
    file: Mapping[str, Any] | None = None,
    seen: Mapping[str, Any] | None = None,
    *,
    restore: bool = False,
) -> dict[str, Action]:
    selection = select(names, SERVICES, NEEDS)
    desired, observed = wanted_of(file), there(seen or {})
    desired = limited(desired, observed, selection)
    plan = limited_plan(make_plan(desired, observed), observed, selection, restore=restore)
    assert needs_rollout(plan, desired, observed) == () or not restore
    assert {name for wave in plan.waves for name in wave} == selection.all
    return {step.name: step.action for step in plan.changes}


def test_only_what_was_asked_for_is_changed() -> None:
    change = {"services": {"db": {"environment": {"A": "b"}}, "web": {"environment": {"COLOUR": "blue"}}}}
    assert _plan(["web"], change) == {"web-1": Action.UPDATE}  # db, which runs well, is only needed
    assert _plan(["db"], change) == {"db-1": Action.REPLACE}
    assert _plan(["app"], change) == {}


def test_what_is_needed_and_down_is_brought_up() -> None:
    assert _plan(["web"], None, {"machines": {"db-1": None, "app-2": {"phase": "stopped"}}}) == {
        "db-1": Action.CREATE,
        "app-2": Action.START,
    }
    assert _plan(["app-1"], None, {"machines": {"web-1": None, "app-2": None}}) == {}


def test_disks_and_networks_of_others_are_not_made() -> None:
    selection = select(["web-1"], SERVICES, {})
    nothing = replace(
        observation_of(wanted_of()),
        machines={},
        volumes=frozenset(),
        networks=frozenset({"old"}),
        internal=frozenset({"old"}),
    )
    desired = limited(wanted_of(), nothing, selection)
    assert dict(desired.volumes) == {}
    assert desired.networks["old"].internal  # what is there stays as it is
    plan = limited_plan(make_plan(desired, nothing), nothing, selection)
    assert {step.name for step in plan.changes if step.kind == "volume"} == set()


def test_disks_of_others_stay_as_they_were_applied() -> None:
    selection = select(["web"], SERVICES, {})
    applied, observed = wanted_of(), there({})
    part = part_of(cluster_of(BASE), selection)
    desired = limited(desire(part, some_images(), {}, VERSIONS), observed, selection)
    plan = limited_plan(make_plan(desired, observed), observed, selection)
    assert [step.name for step in plan.steps if step.kind == "volume"] == []
    variables = to_tfvars(desired, observed, [], applied=applied, keep_volumes=sorted(observed.volumes))
    labels = {name: entry["labels"] for name, entry in variables["volumes"].items()}
    assert labels == {name: dict(volume.labels) for name, volume in applied.volumes.items()} != {}


def test_what_is_dead_comes_back_though_it_has_changed() -> None:
    seen = {"machines": {"app-1": {"phase": str(Phase.FAILED)}, "db-1": {"phase": "stopped"}}}
    found = _plan(["app"], {"services": {"app": {"image": "app:2"}}}, seen, restore=True)
    assert found == {"app-1": Action.REPLACE, "db-1": Action.START}


def test_a_part_of_the_file() -> None:
    cluster = cluster_of(patched(BASE, {}))
    part = part_of(cluster, Selection(frozenset({"app-1"}), frozenset({"db-1"})))
    assert set(part.services) == {"db", "app"}
