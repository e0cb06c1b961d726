"""Disks of instances that run: attached and detached, refused, kept by the machine, under way at a kill."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stoneware.emulator import discovery, instance_work
from stoneware.emulator.machine_spec import mount
from stoneware.emulator.store import Store
from stoneware.model.resources import VolumeMount
from tests.emulator.computers import Computers
from tests.emulator.conftest import Api
from tests.emulator.test_instances import (
    KEY,
    LINK,
    MACHINE,
    ZONE,
    body,
    computers,
    did,
    finished,
    instance,
    opened,
    refusal,
    service,
    settle,
)

__all__ = ["computers", "service"]
DATA = {"source": f"zones/{ZONE}/disks/data", "deviceName": "data"}
PLACE = "/dev/disk/by-id/google-data"


@pytest.fixture
def running(api: Api) -> Api:
    did(api, "instances.insert", body())
    did(api, "disks.insert", {"name": "data", "sizeGb": "3"})
    return api


def devices(api: Api) -> list[tuple[str, int]]:
    return [(disk["deviceName"], disk["index"]) for disk in instance(api)["disks"]]


def users(api: Api, disk: str = "data") -> list[str]:
    found: list[str] = api("disks.get", zone=ZONE, disk=disk).get("users", [])
    return found


def volumes(computers: Computers) -> list[VolumeMount]:
    return list(computers.machines[MACHINE].volumes)


def told(computers: Computers) -> list[str]:
    said = json.loads(computers.machines[MACHINE].identity["instance/disks"])
    return [disk["device-name"] for disk in said]


def test_a_running_instance_gets_and_loses_a_disk(running: Api, computers: Computers) -> None:
    before = instance(running)["fingerprint"]
    ended = did(running, "instances.attachDisk", DATA, instance="k1")
    assert (ended["operationType"], ended["targetLink"]) == (
        "attachDisk",
        f"{LINK}/zones/{ZONE}/instances/k1",
    )
    assert devices(running) == [("persistent-disk-0", 0), ("data", 1)]
    shown = instance(running)
    assert shown["disks"][1] | {"mode": "READ_WRITE", "autoDelete": False, "boot": False} == shown["disks"][1]
    assert shown["fingerprint"] != before
    assert not [name for name in json.dumps(shown).split('"') if name.startswith("x-")]
    (given,) = volumes(computers)
    assert (given.path, given.read_only, computers.disks) == (PLACE, False, {given.volume: 3 << 30})
    assert told(computers) == ["persistent-disk-0", "data"]
    assert users(running) == [f"{LINK}/zones/{ZONE}/instances/k1"]

    ended = did(running, "instances.detachDisk", instance="k1", deviceName="data")
    assert ended["operationType"] == "detachDisk"
    assert (devices(running), volumes(computers)) == ([("persistent-disk-0", 0)], [])
    assert told(computers) == ["persistent-disk-0"]
    assert users(running) == []
    did(running, "disks.delete", disk="data")


def test_what_is_attached_stays_over_a_reset_and_a_stop(running: Api, computers: Computers) -> None:
    did(running, "instances.attachDisk", {**DATA, "mode": "READ_ONLY"}, instance="k1")
    (given,) = volumes(computers)
    assert given.read_only
    did(running, "instances.reset", instance="k1")
    assert volumes(computers) == [given]
    did(running, "instances.stop", instance="k1")
    did(running, "instances.start", instance="k1")
    assert volumes(computers) == [given]
    did(running, "instances.detachDisk", instance="k1", deviceName="data")
    did(running, "instances.reset", instance="k1")
    assert volumes(computers) == []


def test_a_disk_goes_with_a_running_instance_as_it_is_told(running: Api) -> None:
    did(running, "instances.attachDisk", {**DATA, "autoDelete": True}, instance="k1")
    did(running, "instances.delete", instance="k1")
    assert refusal(running, "disks.get", disk="data").status == 404


@pytest.mark.parametrize(
    ("given", "reason", "said"),
    [
        ({}, "resourceInUseByAnotherResource", "is already being used by"),
        ({"source": f"zones/{ZONE}/disks/none"}, "notFound", "was not found"),
        ({"source": f"zones/{ZONE}/disks/other", "deviceName": "data"}, "invalid", "deviceName"),
        ({"source": f"zones/{ZONE}/disks/other", "forceAttach": True}, "invalid", "forceAttach"),
        ({"source": f"zones/{ZONE}/disks/other", "type": "SCRATCH"}, "notImplemented", "SSD"),
    ],
)
def test_what_is_not_attached(
    running: Api, computers: Computers, given: dict[str, Any], reason: str, said: str
) -> None:
    did(running, "disks.insert", {"name": "other", "sizeGb": "1"})
    did(running, "instances.attachDisk", DATA, instance="k1")
    error = refusal(running, "instances.attachDisk", {**DATA, "deviceName": "more", **given}, instance="k1")
    assert (error.reason, said in error.message) == (reason, True)
    assert len(volumes(computers)) == 1
    assert users(running, "other") == []


def test_a_disk_that_is_only_read_has_several_instances(running: Api, computers: Computers) -> None:
    only = {**DATA, "mode": "READ_ONLY"}
    did(running, "instances.insert", body("k2"))
    for name in ("k1", "k2"):
        did(running, "instances.attachDisk", only, instance=name)
    links = [f"{LINK}/zones/{ZONE}/instances/{name}" for name in ("k1", "k2")]
    assert users(running) == links
    assert [[one.read_only for one in spec.volumes] for spec in computers.machines.values()] == [[True]] * 2
    for given, instance_ in ((DATA, "k3"), ({**only, "deviceName": "again"}, "k1")):
        if instance_ == "k3":
            did(running, "instances.insert", body("k3"))
        error = refusal(running, "instances.attachDisk", given, instance=instance_)
        assert error.reason == "resourceInUseByAnotherResource"
    assert refusal(running, "disks.delete", disk="data").reason == "resourceInUseByAnotherResource"
    did(running, "instances.delete", instance="k2")
    assert users(running) == links[:1]
    error = refusal(running, "instances.attachDisk", only | {"mode": "READ_WRITE"}, instance="k3")
    assert error.reason == "resourceInUseByAnotherResource"
    did(running, "instances.detachDisk", instance="k1", deviceName="data")
    assert users(running) == []
    did(running, "instances.attachDisk", DATA, instance="k1")
    error = refusal(running, "instances.attachDisk", only, instance="k3")
    assert error.reason == "resourceInUseByAnotherResource"


def test_an_instance_has_so_many_disks(running: Api, store: Store) -> None:
    record = store.get(KEY)
    assert record is not None
    boot = record["disks"][0]
    record["disks"] += [{**boot, "boot": False, "deviceName": f"d{number}"} for number in range(127)]
    store.put(KEY, record)
    error = refusal(running, "instances.attachDisk", DATA, instance="k1")
    assert (error.status, error.reason) == (400, "unsupportedOperation")
    assert "less than or equal to [128], Requested : [129]" in error.message


def test_what_is_not_detached(running: Api) -> None:
    unknown = refusal(running, "instances.detachDisk", instance="k1", deviceName="data")
    assert (unknown.status, unknown.reason) == (400, "invalid")
    boot = refusal(running, "instances.detachDisk", instance="k1", deviceName="persistent-disk-0")
    assert (boot.status, boot.reason) == (400, "invalidResourceUsage")
    assert "'To detach the boot disk, the instance must be in TERMINATED state.'" in boot.message


def test_a_name_that_is_not_given_is_free(running: Api) -> None:
    for disk in ("a", "b"):
        did(running, "disks.insert", {"name": disk, "sizeGb": "1"})
        did(running, "instances.attachDisk", {"source": f"zones/{ZONE}/disks/{disk}"}, instance="k1")
    did(running, "instances.detachDisk", instance="k1", deviceName="persistent-disk-1")
    assert devices(running) == [("persistent-disk-0", 0), ("persistent-disk-2", 1)]
    did(running, "instances.attachDisk", {"source": f"zones/{ZONE}/disks/a"}, instance="k1")
    assert devices(running)[-1] == ("persistent-disk-1", 2)


def test_a_machine_that_keeps_its_disk_ends_the_operation_with_the_reason(
    running: Api, computers: Computers
) -> None:
    did(running, "instances.attachDisk", DATA, instance="k1")
    computers.stubborn.add(PLACE)
    ended = finished(running, "instances.detachDisk", instance="k1", deviceName="data")
    (error,) = ended["error"]["errors"]
    assert "/dev/sdb is mounted at /data." in error["message"]
    assert devices(running)[-1] == ("data", 1)
    assert (users(running), len(volumes(computers))) == ([f"{LINK}/zones/{ZONE}/instances/k1"], 1)
    computers.stubborn.clear()
    did(running, "instances.detachDisk", instance="k1", deviceName="data")
    assert (users(running), volumes(computers)) == ([], [])


def test_a_machine_that_does_not_take_a_disk_has_not_got_it(running: Api, computers: Computers) -> None:
    computers.stubborn.add(PLACE)
    assert "error" in finished(running, "instances.attachDisk", DATA, instance="k1")
    assert (devices(running), users(running)) == ([("persistent-disk-0", 0)], [])
    assert told(computers) == ["persistent-disk-0"]


def test_a_disk_is_held_until_the_machine_has_let_it_go(running: Api, computers: Computers) -> None:
    did(running, "instances.insert", body("k2"))
    did(running, "instances.attachDisk", DATA, instance="k1")
    computers.gate.clear()
    running("instances.detachDisk", zone=ZONE, instance="k1", deviceName="data")
    again = refusal(running, "instances.detachDisk", instance="k1", deviceName="data")
    assert (again.status, again.reason) == (400, "resourceNotReady")
    other = refusal(running, "instances.attachDisk", DATA, instance="k2")
    assert other.reason == "resourceInUseByAnotherResource"
    computers.gate.set()
    settle(running.service)
    did(running, "instances.attachDisk", DATA, instance="k2")


def test_a_machine_that_ended_has_its_disks_when_it_starts(running: Api, computers: Computers) -> None:
    computers.machines.clear()
    did(running, "instances.attachDisk", DATA, instance="k1")
    instance_work.look(running.service)
    settle(running.service)
    assert instance(running)["status"] == "TERMINATED"
    did(running, "instances.start", instance="k1")
    assert [one.path for one in volumes(computers)] == [PLACE]


def test_a_disk_of_a_running_instance_grows(running: Api, computers: Computers) -> None:
    did(running, "instances.attachDisk", DATA, instance="k1")
    (given,) = volumes(computers)
    assert did(running, "disks.resize", {"sizeGb": "5"}, disk="data")["operationType"] == "resizeDisk"
    assert computers.disks == {given.volume: 5 << 30}
    computers.stubborn.add(given.volume)
    ended = finished(running, "disks.resize", {"sizeGb": "6"}, disk="data")
    assert "QEMU does not answer" in ended["error"]["errors"][0]["message"]
    assert computers.disks == {given.volume: 5 << 30}
    # It has what its record says at the next start.
    did(running, "instances.reset", instance="k1")
    assert computers.disks == {given.volume: 6 << 30}
    did(running, "instances.stop", instance="k1")
    did(running, "disks.resize", {"sizeGb": "7"}, disk="data")
    assert computers.disks == {given.volume: 6 << 30}
    did(running, "disks.resize", {"sizeGb": "20"}, disk="k1")


def test_a_disk_that_was_growing_at_a_kill_grows_with_the_next_emulator(
    document: discovery.Document, running: Api, computers: Computers
) -> None:
    did(running, "instances.attachDisk", DATA, instance="k1")
    (given,) = volumes(computers)
    computers.gate.clear()
    asked = running("disks.resize", {"sizeGb": "5"}, zone=ZONE, disk="data")
    after = Computers(machines=dict(computers.machines), disks=dict(computers.disks))
    again = opened(document, running.service.store, after)
    instance_work.resume(again)
    ended = Api(again)("zoneOperations.wait", zone=ZONE, operation=asked["name"])
    assert (ended["status"], ended.get("error")) == ("DONE", None)
    assert after.disks == {given.volume: 5 << 30}
    again.jobs.close()
    computers.gate.set()


@pytest.mark.parametrize("method", ["attachDisk", "detachDisk"])
@pytest.mark.parametrize("reached", [False, True])
def test_what_is_under_way_at_a_kill_is_done_by_the_next_emulator(
    document: discovery.Document, running: Api, computers: Computers, method: str, reached: bool
) -> None:
    store = running.service.store
    if method == "detachDisk":
        did(running, "instances.attachDisk", DATA, instance="k1")
    before = dict(computers.machines)
    computers.gate.clear()  # the first emulator gets no further
    if method == "attachDisk":
        asked = running("instances.attachDisk", DATA, zone=ZONE, instance="k1")
    else:
        asked = running("instances.detachDisk", zone=ZONE, instance="k1", deviceName="data")
    after = Computers(machines=before)
    if reached:  # and was killed between the machine's disk and its own record
        wanted = mount(store, {**DATA, "source": f"{LINK}/zones/{ZONE}/disks/data", "mode": "READ_WRITE"})
        (after.attach if method == "attachDisk" else after.detach)(MACHINE, wanted)
    again = opened(document, store, after)
    instance_work.resume(again)
    later = Api(again)
    ended = later("zoneOperations.wait", zone=ZONE, operation=asked["name"])
    assert (ended["status"], ended.get("error")) == ("DONE", None)
    settle(again)
    there = [("data", 1)] if method == "attachDisk" else []
    assert devices(later) == [("persistent-disk-0", 0), *there]
    assert [one.path for one in after.machines[MACHINE].volumes] == [PLACE for _ in there]
    assert len(users(later)) == len(there)
    record = store.get(KEY)
    assert record is not None
    assert instance_work.DISKS not in record
    again.jobs.close()
    computers.gate.set()


def test_a_stop_behind_a_detach_that_was_killed_is_done_too(
    document: discovery.Document, store: Store, running: Api, computers: Computers
) -> None:
    did(running, "instances.attachDisk", DATA, instance="k1")
    computers.gate.clear()
    running("instances.detachDisk", zone=ZONE, instance="k1", deviceName="data")
    record = store.get(KEY)
    assert record is not None
    # Its time was over meanwhile, of which no operation tells.
    store.put(KEY, record | {"status": "STOPPING", "x-save": "disk-7"})
    after = Computers(machines=dict(computers.machines))
    again = opened(document, store, after)
    instance_work.resume(again)
    settle(again)
    assert instance(Api(again))["status"] == "TERMINATED"
    assert (after.machines, users(Api(again))) == ({}, [])
    again.jobs.close()
    computers.gate.set()
