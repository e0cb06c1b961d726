"""Status: what runs where, against what is wanted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.cluster.documents import status_document
from stoneware.cluster.model import ObservedMachine
from stoneware.cluster.status import COLUMNS, status, status_rows, summary, unhealthy_lines
from stoneware.model.machine import FailedCheck
from tests.cluster.support import NOW, observation_of, there, wanted_of

pytestmark = pytest.mark.pure
CASES = json.loads((Path(__file__).parent / "cases/status.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_rows(case):
    desired = wanted_of(case.get("file"), pending=frozenset(case.get("pending", ())))
    found = status(None if case.get("nothing") else desired, there(case.get("there", {})), NOW)
    rows = status_rows(found)
    assert [" | ".join(row) for row in rows] == case["rows"]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert summary(found) == case["summary"]


def test_differences_are_told_as_the_plan_tells_them():
    desired = wanted_of({"services": {"web": {"environment": {"COLOUR": "blue"}, "memory": 1}}})
    machine = next(it for it in status(desired, observation_of(wanted_of()), NOW) if it.name == "web-1")
    assert machine.differences == ("configuration: COLOUR changed", "memory no limit → 1 bytes")
    assert machine.in_sync is False
    assert machine.healthy


def test_the_document():
    desired = wanted_of({"services": {"web": None, "more": {"image": "web:1"}}})
    found = status(desired, there({"machines": {"db-1": None, "app-2": None}}), NOW)
    document = json.loads(json.dumps(status_document("shop", found)))
    assert {key: document[key] for key in ("schema", "cluster", "in_sync", "well")} == {
        "schema": 1,
        "cluster": "shop",
        "in_sync": False,
        "well": False,
    }
    machines = {machine["name"]: machine for machine in document["machines"]}
    assert list(machines) == ["db-1", "app-1", "app-2", "more-1", "web-1"]
    assert machines["db-1"]["running"] is None
    assert machines["db-1"]["phase"] is None
    assert machines["db-1"]["age"] is None
    app = machines["app-1"]
    assert (
        app["wanted"]
        == app["running"]
        == {
            "image": "app:1",
            "image_id": f"sha256:{'1' * 64}",
            "commit": "1111111111111",
            "config": desired.machines["app-1"].config_digest,
        }
    )
    assert app["ports"] == [{"host_ip": "0.0.0.0", "host_port": 8001, "machine_port": 80, "protocol": "tcp"}]
    assert (app["phase"], app["health"], app["well"], app["in_sync"], app["age"]) == (
        "running",
        "healthy",
        True,
        True,
        3600.0,
    )
    assert machines["web-1"]["differences"] == ["no file declares this machine"]
    assert machines["web-1"]["wanted"]["image"] == ""


def test_the_whole_is_in_sync_only_if_every_machine_is():
    desired = wanted_of()
    good = status_document("shop", status(desired, observation_of(desired), NOW))
    assert (good["in_sync"], good["well"]) == (True, True)
    pending = wanted_of(pending=frozenset({"web"}))
    assert status_document("shop", status(pending, observation_of(desired), NOW))["in_sync"] is None


def test_what_machines_say_that_are_not_well():
    ill = there({"machines": {"web-1": {"health": "unhealthy"}}})
    machine = ill.machines["web-1"].machine
    check = FailedCheck(22, 3, "curl: (22) the server says 503\n")
    ill = replace(
        ill, machines={**ill.machines, "web-1": ObservedMachine(replace(machine, failed_check=check))}
    )
    found = status(wanted_of(), ill, NOW)
    assert unhealthy_lines(found) == [
        "",
        "web-1 is running (unhealthy):",
        "  its health check failed 3 times in a row, with exit code 22:",
        "  > curl: (22) the server says 503",
    ]
    document = next(one for one in status_document("shop", found)["machines"] if one["name"] == "web-1")
    assert document["failed_check"] == {
        "exit_code": 22,
        "times": 3,
        "output": "curl: (22) the server says 503\n",
    }
