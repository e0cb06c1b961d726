"""Drift: four sources, and what could not be found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.cluster.documents import drift_document
from stoneware.cluster.drift import Source, find_drift
from stoneware.cluster.model import ObservedMachine
from stoneware.terraform.results import Change
from tests.cluster.observation_documents import RESOURCES
from tests.cluster.support import VERSIONS, observation_of, there, wanted_of

pytestmark = pytest.mark.pure
CASES = json.loads((Path(__file__).parent / "cases/drift.json").read_text())


def changes_of(entries):
    return [
        Change(
            entry["address"],
            entry["address"].partition(".")[0],
            tuple(entry["actions"]),
            entry.get("before"),
            entry.get("after"),
        )
        for entry in entries
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_differs_and_what_is_not_known(case):
    desired = wanted_of(
        case.get("file"),
        versions=case.get("versions", VERSIONS),
        pending=frozenset(case.get("pending", ())),
    )
    refresh = changes_of(case["refresh"]) if "refresh" in case else None
    report = find_drift(desired, there(case.get("there", {})), refresh, RESOURCES)
    items = [
        f"{item.source} {item.machine} {item.what}: {item.wanted}, not {item.found}" for item in report.items
    ]
    assert items == case["items"]
    unknown = [f"{item.machine} {item.source}: {item.reason}" for item in report.unknown]
    assert unknown == case.get("unknown", [])
    assert report.in_sync == (not items and not unknown)
    document = drift_document(report)
    assert document["in_sync"] == report.in_sync
    assert [item["what"] for item in document["items"]] == [item.what for item in report.items]
    assert len(document["unknown"]) == len(unknown)
    json.dumps(document)


def test_what_was_not_asked_is_never_in_sync():
    desired = wanted_of()
    observed = observation_of(desired)
    silent = {name: ObservedMachine(found.machine) for name, found in observed.machines.items()}
    report = find_drift(desired, replace(observed, machines=silent), None, RESOURCES)
    assert not report.items
    assert {item.machine for item in report.unknown} == set(desired.machines)
    assert {item.source for item in report.unknown} == {Source.FILE}
    assert not report.in_sync


def test_values_of_the_configuration_are_not_in_a_report():
    desired = wanted_of({"services": {"web": {"environment": {"COLOUR": "hush-hush"}}}})
    report = find_drift(desired, observation_of(wanted_of()), None, RESOURCES)
    assert len(report.items) == 1
    assert "hush" not in json.dumps(drift_document(report))


def test_long_attributes_are_cut():
    change = Change(
        'stoneware_machine.machine["web-1"]', "stoneware_machine", ("update",), {"x": "a"}, {"x": "b" * 999}
    )
    desired = wanted_of()
    (item,) = find_drift(desired, observation_of(desired), [change], RESOURCES).items
    assert (item.wanted, len(item.found), item.found[-1]) == ("a", 200, "…")


def test_of_values_in_values_what_differs_is_told():
    before = {"disks": [{"size": 10, "image": {"name": "a", "of": "p"}}, {"size": 20}], "tags": ["a"]}
    after = {"disks": [{"size": 10, "image": {"name": "b"}}, {"size": 20}], "tags": ["a", "b"]}
    change = Change('stoneware_machine.machine["web-1"]', "x", ("update",), before, after)
    desired = wanted_of()
    disk, tags = find_drift(desired, observation_of(desired), [change], RESOURCES).items
    assert json.loads(disk.wanted) == [{"image": {"name": "a", "of": "p"}}]
    assert json.loads(disk.found) == [{"image": {"name": "b"}}]
    assert (tags.wanted, tags.found) == ('["a"]', '["a", "b"]')
