"""The variables of an apply: which machines are at what, and that no disk is ever dropped."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import stoneware.terraform
from stoneware.cluster.documents import plan_document
from stoneware.cluster.model import Action
from stoneware.cluster.plan import make_plan, needs_rollout
from stoneware.cluster.tfvars import from_tfvars, to_tfvars
from stoneware.errors import InputError
from tests.cluster.support import observation_of, there, wanted_of

pytestmark = pytest.mark.pure
MODULE = Path(stoneware.terraform.__file__).parent / "modules/local/cluster"


def applied_of(desired):
    """Return what would be read back after an apply of everything."""
    return from_tfvars(
        desired.name, json.loads(json.dumps(to_tfvars(desired, None, desired.machines), sort_keys=True))
    )


def test_the_variables_are_those_of_the_module():
    desired = wanted_of({"volumes": {"pool": {"external": True}}, "networks": {"far": {"external": True}}})
    tfvars = to_tfvars(desired, None, desired.machines)
    declared = (MODULE / "variables.tf").read_text()
    assert set(tfvars) == set(re.findall(r'^variable "(\w+)"', declared, re.MULTILINE))
    assert set(tfvars["volumes"]) == set(desired.volumes) - {"pool"}
    assert set(tfvars["networks"]) == {"shop-default"}
    assert set(tfvars["machines"]) == set(desired.machines)
    used = set(re.findall(r"each\.value\.(\w+)", (MODULE / "machines.tf").read_text()))
    assert used <= set(tfvars["machines"]["app-1"])
    assert tfvars["machines"]["app-1"]["labels"]["stoneware.machine"] == "app-1"
    assert tfvars["volumes"]["shop-db-1-data"]["labels"]["stoneware.machine"] == "db-1"


def test_what_was_applied_is_read_back_and_needs_nothing():
    desired = wanted_of({"services": {"app": {"memory": 5, "cpus": 0.5, "read_only": True}}})
    applied = applied_of(desired)
    assert {name: applied.machines[name] for name in desired.machines} == dict(desired.machines)
    assert applied.depends_on == desired.depends_on
    assert make_plan(applied, observation_of(desired)).changes == ()
    assert to_tfvars(applied, None, applied.machines) == to_tfvars(desired, None, desired.machines)


def test_a_first_wave_holds_only_its_machines_but_all_disks():
    desired = wanted_of()
    tfvars = to_tfvars(desired, there({"machines": None, "volumes": [], "networks": []}), {"db-1"})
    assert set(tfvars["machines"]) == {"db-1"}
    assert set(tfvars["volumes"]) == set(desired.volumes)


def test_other_machines_stay_as_they_were_applied():
    before = wanted_of()
    desired = wanted_of({"services": {"app": {"image": "app:2"}, "db": {"memory": 7}}})
    observed = observation_of(before)
    tfvars = to_tfvars(desired, observed, {"db-1"}, applied=applied_of(before))
    assert list(tfvars["machines"]) == ["db-1", "app-1", "app-2", "web-1"]
    assert tfvars["machines"]["db-1"]["memory"] == 7
    assert tfvars["machines"]["app-1"]["source"] == f"image:sha256:{'1' * 64}"
    assert all(machine["running"] for machine in tfvars["machines"].values())


def test_an_early_wave_makes_and_starts_nothing_of_a_later_one():
    before = wanted_of()
    observed = there({"machines": {
        "app-1": None,
        "app-2": {"phase": "stopped", "exit_code": 137},
        "web-1": {"phase": "failed", "exit_code": 1},
    }})  # fmt: skip
    tfvars = to_tfvars(before, observed, {"db-1"}, applied=applied_of(before))
    assert {name: machine["running"] for name, machine in tfvars["machines"].items()} == {
        "db-1": True,
        "app-2": False,
        "web-1": False,
    }
    later = to_tfvars(before, observed, {"db-1", "app-1", "app-2"}, applied=applied_of(before))
    assert later["machines"]["app-2"]["running"] is True
    assert "app-1" in later["machines"]


def test_machines_go_when_they_are_asked_to_and_disks_never():
    before = wanted_of()
    desired = wanted_of({"services": {"db": None, "app": {"replicas": 1}}})
    applied, observed = applied_of(before), observation_of(before)
    kept = to_tfvars(desired, observed, {"app-1"}, applied=applied)
    assert set(kept["machines"]) == {"db-1", "app-1", "app-2", "web-1"}
    gone = to_tfvars(
        desired, observed, {"app-1", "app-2", "db-1", "web-1"}, applied=applied, keep_volumes=["odd"]
    )
    assert set(gone["machines"]) == {"app-1", "web-1"}
    assert set(gone["volumes"]) == {*before.volumes, "odd"}
    assert gone["volumes"]["shop-db-1-data"]["labels"]["stoneware.machine"] == "db-1"
    assert gone["volumes"]["odd"]["labels"] == {"stoneware.cluster": "shop"}


def test_a_network_stays_while_a_kept_machine_is_on_it():
    back = {"services": {"web": {"networks": ["shop-back"]}}, "networks": {"shop-back": {}}}
    before, desired = wanted_of(back), wanted_of()
    applied, observed = applied_of(before), observation_of(before)
    early = to_tfvars(desired, observed, {"db-1"}, applied=applied)
    assert set(early["networks"]) == {"shop-default", "shop-back"}
    late = to_tfvars(desired, observed, set(before.machines), applied=applied)
    assert set(late["networks"]) == {"shop-default"}


def test_whether_a_network_is_internal_is_kept():
    inner = {"networks": {"shop-default": {"internal": True}}}
    tfvars = to_tfvars(wanted_of(inner), None, {"db-1"})
    assert tfvars["networks"]["shop-default"]["internal"] is True
    assert from_tfvars("shop", tfvars).networks["shop-default"].internal
    plain = to_tfvars(wanted_of(), None, {"db-1"})
    assert set(plain["networks"]["shop-default"]) == {"labels"}  # as earlier versions wrote it
    assert not from_tfvars("shop", plain).networks["shop-default"].internal


@pytest.mark.parametrize("broken", [{}, {"machines": {"a": {}}}, {"machines": {"a": 3}}, {"machines": []}])
def test_damaged_variables_are_refused(broken):
    tfvars = {**to_tfvars(wanted_of(), None, ()), **broken} if broken else {}
    with pytest.raises(InputError, match="what was applied last to the cluster shop cannot be read"):
        from_tfvars("shop", tfvars)


def test_the_document_of_a_plan():
    desired = wanted_of({"services": {"app": {"image": "app:2"}}})
    observed = there({"machines": {"web-1": None}})
    plan = make_plan(desired, observed)
    document = json.loads(
        json.dumps(plan_document(plan, desired, rollout=needs_rollout(plan, desired, observed)))
    )
    assert (document["schema"], document["cluster"], document["changes"]) == (1, "shop", 3)
    assert document["needs_rollout"] == ["app-1", "app-2"]
    assert document["waves"] == [["db-1"], ["app-1", "app-2"], ["web-1"]]
    steps = {(step["kind"], step["name"]): step for step in document["steps"]}
    assert steps["machine", "app-1"] == {
        "kind": "machine",
        "name": "app-1",
        "action": "replace",
        "reasons": ["image app:1 (111111111111, commit 1111111) → app:2 (222222222222)"],
        "service": "app",
        "machine": "shop-app-1",
        "image": "app:2",
        "image_id": f"sha256:{'2' * 64}",
        "commit": "",
        "config": desired.machines["app-1"].config_digest,
    }
    assert steps["volume", "shop-db-1-data"]["action"] == "nothing"
    assert document["warnings"] == list(desired.warnings)
    bare = plan_document(replace(plan, steps=()))
    assert (bare["steps"], bare["changes"], bare["warnings"]) == ([], 0, [])
    assert {step.action for step in plan.changes} == {Action.REPLACE, Action.CREATE}
