"""The guard, over plans that Terraform made with machines and volumes (trimmed)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoneware.terraform.guard import PlanRefused, check_plan
from stoneware.terraform.results import Change, Plan, parse_plan

DISKS = frozenset({"stoneware_volume", "google_compute_disk"})
CASES = json.loads((Path(__file__).parent / "cases" / "plans.json").read_text())


def plan_of(document: dict[str, Any]) -> Plan:
    return parse_plan(document, Path("stoneware.tfplan"))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_plans(case: dict[str, Any]) -> None:
    plan = plan_of(case["plan"])
    if not case["violations"]:
        check_plan(plan, allowed=set(case["allowed"]), disk_types=DISKS)
        return
    with pytest.raises(PlanRefused) as caught:
        check_plan(plan, allowed=set(case["allowed"]), disk_types=DISKS)
    assert list(caught.value.violations) == case["violations"]
    assert caught.value.details == "\n".join(case["violations"])


def test_a_module_instance_allows_what_is_in_it_and_no_other_instance() -> None:
    inside = Change('module.m["a"].stoneware_machine.m', "stoneware_machine", ("create",))
    check_plan(Plan(Path("p"), (inside,)), allowed={'module.m["a"]'}, disk_types=DISKS)
    for other in ('module.m["a2"]', 'module.m["a', "module.mm", "stoneware_machine.m"):
        with pytest.raises(PlanRefused):
            check_plan(Plan(Path("p"), (inside,)), allowed={other}, disk_types=DISKS)


def test_an_object_that_a_failed_replacement_left_may_go_with_its_machine() -> None:
    old = Change("stoneware_machine.m", "stoneware_machine", ("delete",))
    check_plan(Plan(Path("p"), (old,)), allowed={"stoneware_machine.m"}, disk_types=DISKS)


def test_an_import_is_let_through_and_what_is_done_besides_is_not() -> None:
    def plan(*actions: str) -> Plan:
        change = {"actions": actions, "before": {}, "after": {}, "importing": {"id": "m-1"}}
        item = {"address": "stoneware_machine.m", "type": "stoneware_machine", "change": change}
        return plan_of({"resource_changes": [item]})

    check_plan(plan("no-op"), allowed=set(), disk_types=DISKS)
    assert plan("no-op").changes[0].importing == "m-1"
    assert not plan("no-op").noop  # its apply takes it into the state
    for actions, verb in (("update",), "changed"), (("delete", "create"), "replaced"):
        with pytest.raises(PlanRefused) as caught:
            check_plan(plan(*actions), allowed=set(), disk_types=DISKS)
        assert caught.value.violations == (f"stoneware_machine.m would be imported and {verb}",)
        check_plan(plan(*actions), allowed={"stoneware_machine.m"}, disk_types=DISKS)


@pytest.mark.parametrize("type_", sorted(DISKS))
def test_no_kind_of_volume_is_ever_destroyed(type_: str) -> None:
    gone = Change(f"{type_}.v", type_, ("delete",))
    with pytest.raises(PlanRefused, match="more than was asked"):
        check_plan(Plan(Path("p"), (gone,)), allowed={gone.address}, disk_types=DISKS)


def test_an_incomplete_plan_is_refused() -> None:
    with pytest.raises(PlanRefused) as caught:
        check_plan(Plan(Path("p"), (), complete=False), allowed=set(), disk_types=DISKS)
    assert caught.value.violations == ("the plan is incomplete: Terraform could not predict every change",)
