"""What a rollout would do, with reasons, and what is in its way: pure, over recorded clusters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.declaration import release_of_machine
from stoneware.cluster.model import Observed
from stoneware.cluster.tfvars import to_tfvars
from stoneware.errors import InputError
from stoneware.image.versions import checked_floor, is_below, version_of
from stoneware.rollout.documents import planned_document
from stoneware.rollout.journal import Event
from stoneware.rollout.model import Direction, Policy
from stoneware.rollout.planner import Planned, Present, plan_return, plan_rollout, release_of
from stoneware.rollout.rollback_limits import floors_of
from stoneware.rollout.state import plan_document, plan_of
from tests.cluster.support import VERSIONS, observation_of, some_images, there, wanted_of
from tests.cluster.support import patched as merged

CASES = json.loads((Path(__file__).parent / "cases" / "plans.json").read_text())


def present_of(
    observed: Observed, applied: Mapping[str, Any] | None = None, floors: Mapping[str, str] | None = None
) -> Present:
    """Return what there is where BASE was applied last; `applied` is a merge patch over its machines."""
    wanted = wanted_of()
    variables = to_tfvars(wanted, None, wanted.machines)
    machines = merged(variables["machines"], applied or {})
    store = some_images()

    def labels(image: str) -> Mapping[str, str] | None:
        return store.manifests[image]["labels"] if image in store.manifests else None

    return Present(observed, {**variables, "machines": machines}, labels, floors or {})


def plan_case(case: dict[str, Any]) -> Planned:
    desired = wanted_of(
        case.get("file"), pending=frozenset(case.get("pending", ())), versions=case.get("versions", VERSIONS)
    )
    present = present_of(there(case.get("there", {})), case.get("applied"), case.get("floors"))
    return plan_rollout(desired, present, {})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_changes_and_what_is_in_the_way(case: dict[str, Any]) -> None:
    planned = plan_case(case)
    said = [f"{one.machine} {one.how}: {'; '.join(one.reasons)}" for one in planned.plan.changes]
    assert said == case["changes"] if isinstance(case["changes"], list) else len(said) == case["changes"]
    for found, wanted in ((planned.blocked, "blocked"), (planned.notes, "notes")):
        texts = case.get(wanted, [])
        assert len(found) == len(texts), found
        for sentence, text in zip(found, texts, strict=True):
            assert sentence.startswith(text)
    assert planned.nothing == (not planned.plan.changes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_plan_survives_the_journal(case: dict[str, Any]) -> None:
    plan = plan_case(case).plan
    again = plan_of(json.loads(json.dumps(plan_document(plan))))
    assert again == plan
    assert json.loads(json.dumps(planned_document(Planned(plan))))["cluster"] == "shop"


def test_entries_make_the_releases_they_are_said_to() -> None:
    planned = plan_case({"file": {"services": {"app": {"image": "app:2"}}}})
    for change in planned.plan.changes:
        for direction in Direction:
            entry = change.entry(direction)
            assert entry is not None
            assert release_of(entry) == change.release(direction)
            assert entry["running"] is True


def test_a_machine_that_is_gone_returns_to_what_it_was() -> None:
    planned = plan_case({"there": {"machines": {"app-1": None}}})
    [change] = planned.plan.changes
    assert change.before == change.after
    assert change.entry_before is not None


def test_an_entry_that_was_edited_by_hand_blocks() -> None:
    edited = {"app-1": {"source": f"image:sha256:{'2' * 64}"}}
    planned = plan_case({"applied": edited, "file": {"services": {"app": {"image": "app:2"}}}})
    assert any("edited by hand" in sentence for sentence in planned.blocked)


def test_policies_are_those_of_services_that_change() -> None:
    policies = {"app": Policy(gate_timeout=7), "web": Policy()}
    desired = wanted_of({"services": {"app": {"image": "app:2"}}})
    planned = plan_rollout(desired, present_of(there({})), policies, canary=["app-2", "app-2"])
    assert planned.plan.policies == {"app": Policy(gate_timeout=7)}
    assert planned.plan.canary == ("app-2",)
    assert planned.plan.policy("app-1").gate_timeout == 7


@pytest.mark.parametrize("name", ["app-9", "db-1"])
def test_a_canary_has_to_change(name: str) -> None:
    desired = wanted_of({"services": {"app": {"image": "app:2"}}})
    with pytest.raises(InputError) as told:
        plan_rollout(desired, present_of(there({})), {}, canary=[name])
    assert name in told.value.brief


def test_the_way_back_brings_the_former_secrets() -> None:
    new = wanted_of({"services": {"app": {"image": "app:2"}}}, versions={"app-token": "v2"})
    old = to_tfvars(wanted_of(), None, ["app-1"])["machines"]
    variables = to_tfvars(new, None, new.machines)
    store = some_images()
    present = Present(observation_of(new), variables, lambda image: store.manifests.get(image) and {}, {})
    planned = plan_return("shop", {**old, "gone-1": old["app-1"]}, present, {})
    [change] = planned.plan.changes
    assert change.machine == "app-1"
    assert change.entry_after["source"] == old["app-1"]["source"]
    assert change.entry_after["secrets"][0]["version"] == "v1"
    assert change.entry_after["recreate_on"] == old["app-1"]["recreate_on"]
    assert planned.blocked == ()
    lost = replace(present, labels=lambda _: None)
    assert "not there any more" in plan_return("shop", old, lost, {}).blocked[0]
    forgotten = replace(present, kept=lambda name, version: (name, version) != ("shop-app-token", "v1"))
    assert "shop-app-token" in plan_return("shop", old, forgotten, {}).blocked[0]
    theirs = [{**old["app-1"]["secrets"][0], "secret": "projects/p/secrets/theirs", "version": "3"}]
    stored = {"app-1": {**old["app-1"], "secrets": theirs}}
    (why,) = plan_return("shop", stored, replace(present, kept=lambda *_: False), {}).blocked
    assert why == "version 3 of the secret projects/p/secrets/theirs is not in Secret Manager any more"


@pytest.mark.parametrize("changes", [{"memory": 7}, {"restart": "always"}, {"labels": {"tier": "x"}}])
def test_what_only_another_field_changes_returns(changes: dict[str, Any]) -> None:
    new, old = wanted_of({"services": {"app": changes}}), wanted_of()
    variables = to_tfvars(new, None, new.machines)
    store = some_images()
    present = Present(observation_of(new), variables, lambda image: store.manifests.get(image) and {}, {})
    targets = to_tfvars(old, None, ["app-1", "app-2"])["machines"]
    planned = plan_return("shop", targets, present, {})
    assert [change.machine for change in planned.plan.changes] == ["app-1", "app-2"]
    for change in planned.plan.changes:
        assert change.before != change.after
        assert change.after == release_of_machine(old.machines[change.machine])
    assert plan_return("shop", variables["machines"], present, {}).nothing


def test_a_journal_of_another_version_is_read() -> None:
    plan = plan_case({"file": {"services": {"app": {"memory": 7}}}}).plan
    document = json.loads(json.dumps(plan_document(plan)))
    for change in document["changes"]:
        del change["before"]["declared"]
        change["after"]["declared"] = "sha256:of-another-version"
    assert plan_of(document) == plan


@pytest.mark.parametrize(
    ("version", "floor", "below"),
    [
        ("4.2.1", "4.3", True),
        ("4.3", "4.3", False),
        ("4.3.1", "4.3", False),
        ("4.10", "4.9", False),
        ("4.3rc1", "4.3", True),
        ("", "4.3", True),
        ("latest", "4.3", True),
    ],
)
def test_versions_and_floors(version: str, floor: str, below: bool) -> None:
    assert is_below(version, floor) is below


def test_a_floor_that_is_no_version() -> None:
    with pytest.raises(InputError):
        checked_floor({"stoneware.rollback-floor": "the-new-one"})
    assert checked_floor({}) == ""


def test_the_version_of_an_image() -> None:
    assert version_of({"stoneware.version": "2", "org.opencontainers.image.version": "1"}) == "2"
    assert version_of({"org.opencontainers.image.version": "1"}) == "1"
    assert version_of({}) == ""


def test_the_highest_floor_holds() -> None:
    events = [
        Event(1, "r1", "finalized", {"service": "app", "floor": "4.10", "image": "a"}),
        Event(2, "r2", "finalized", {"service": "app", "floor": "4.9", "image": "b"}),
        Event(3, "r2", "finalized", {"service": "db", "floor": "", "image": "c"}),
        Event(4, "r2", "finalizing", {"service": "web", "floor": "9"}),  # killed, or failed
        Event(5, "r2", "finalizing", {"service": "db", "floor": ""}),
    ]
    assert floors_of(events) == {"app": "4.10", "web": "9"}


def test_ports_that_are_in_use_block_before_anything_is_stopped() -> None:
    asked: list[tuple[str, int]] = []

    def ports(name: str, wanted: Any) -> list[str]:
        asked.append((name, len(wanted)))
        return ["port 8081/tcp of this computer is in use: nginx (process 7) listens on it"]

    present = replace(present_of(there({})), ports=ports)
    planned = plan_rollout(wanted_of({"services": {"app": {"image": "app:2"}}}), present, {})
    assert [name for name, _ in asked] == ["shop-app-1", "shop-app-2"]
    assert planned.blocked[0] == (
        "app-1: port 8081/tcp of this computer is in use: nginx (process 7) listens on it"
    )
