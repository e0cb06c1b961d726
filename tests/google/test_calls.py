"""Single calls of the stand-in, as Terraform makes them: what an interrupt loses, and a disk of its own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from stoneware.provider.values import pack, unpack
from tests.google.cloud import PROJECT, REGION, ZONE, Cloud, lines
from tests.google.provider.schema import provider, schemas
from tests.google.provider.servicer import Servicer

pytestmark = pytest.mark.tool


class Calls:
    """Plans and applies single resources."""

    def __init__(self, cloud: Cloud) -> None:
        self.servicer = Servicer()
        compute = f"{cloud.endpoint}/compute/v1/"
        given = {
            "project": PROJECT,
            "region": REGION,
            "zone": ZONE,
            "access_token": "t",
            "poll_interval": "20ms",
        }
        block = provider().block.whole({**given, "compute_custom_endpoint": compute})
        assert not self.servicer.ConfigureProvider(SimpleNamespace(config=_sent(block)))

    def plan(self, kind: str, config: dict[str, Any], prior: dict[str, Any] | None = None) -> dict[str, Any]:
        whole = _sent(schemas("resource_schemas")[kind].block.whole(config))
        request = SimpleNamespace(
            type_name=kind, config=whole, prior_state=_sent(prior), proposed_new_state=whole
        )
        reply = self.servicer.PlanResourceChange(request)
        assert "diagnostics" not in reply, reply
        planned: dict[str, Any] = unpack(reply["planned_state"]["msgpack"])
        return planned

    def apply(
        self, kind: str, prior: dict[str, Any] | None, planned: dict[str, Any] | None
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the new state and the errors."""
        request = SimpleNamespace(type_name=kind, prior_state=_sent(prior), planned_state=_sent(planned))
        reply = self.servicer.ApplyResourceChange(request)
        return unpack(reply["new_state"]["msgpack"]), [
            each["summary"] for each in reply.get("diagnostics", ())
        ]

    def make(self, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        state, errors = self.apply(kind, None, self.plan(kind, config))
        assert not errors
        assert state is not None
        return state


def _sent(values: dict[str, Any] | None) -> SimpleNamespace:
    return SimpleNamespace(msgpack=pack(values))


@pytest.fixture
def calls(cloud: Cloud) -> Calls:
    return Calls(cloud)


def test_an_interrupt_loses_what_is_being_made(cloud: Cloud, calls: Calls) -> None:
    cloud.fail("slow-operation")
    planned = calls.plan("google_compute_disk", {"name": "d"})

    def stop() -> None:
        deadline = time.monotonic() + 300
        while "d" not in cloud.of("disks") and time.monotonic() < deadline:
            time.sleep(0.01)
        calls.servicer.StopProvider(None)

    threading.Thread(target=stop).start()
    state, [said] = calls.apply("google_compute_disk", None, planned)
    assert state is None
    assert said.endswith("context canceled")
    assert "d" in cloud.of("disks")


def test_the_connection_that_ends_loses_it_too(cloud: Cloud, calls: Calls) -> None:
    planned = calls.plan("google_compute_disk", {"name": "d"})
    cloud.fail("lost-reply")
    state, [said] = calls.apply("google_compute_disk", None, planned)
    assert state is None
    assert said.startswith("Error creating Disk: Post ")
    assert "d" in cloud.of("disks")


def test_a_disk_is_attached_to_a_running_instance_and_detached_by_itself(cloud: Cloud, calls: Calls) -> None:
    image = "projects/debian-cloud/global/images/family/debian-12"
    machine = {
        "name": "k1",
        "machine_type": "e2-small",
        "boot_disk": [{"initialize_params": [{"image": image}]}],
        "network_interface": [{"network": "default"}],
    }
    calls.make("google_compute_instance", machine)
    calls.make("google_compute_disk", {"name": "data", "size": 10})
    cloud.take()
    wanted = {"disk": "data", "instance": "k1", "device_name": "data"}
    attached = calls.make("google_compute_attached_disk", wanted)
    place = f"zones/{ZONE}/instances/k1"
    assert lines(cloud.take()) == [f"POST {place}/attachDisk", f"GET {place}"]
    assert attached["id"] == f"projects/{PROJECT}/{place}/data"
    assert calls.plan("google_compute_attached_disk", wanted, attached) == attached
    assert calls.apply("google_compute_attached_disk", attached, None) == (None, [])
    assert lines(cloud.take()) == [f"GET {place}", f"POST {place}/detachDisk?deviceName=data"]


def test_a_disk_that_is_attached_is_detached_before_it_goes(cloud: Cloud, calls: Calls) -> None:
    image = "projects/debian-cloud/global/images/family/debian-12"
    disk = calls.make("google_compute_disk", {"name": "data", "size": 10})
    machine = {
        "name": "k1",
        "machine_type": "e2-small",
        "boot_disk": [{"initialize_params": [{"image": image}]}],
        "attached_disk": [{"source": "data", "device_name": "data"}],
        "network_interface": [{"network": "default"}],
    }
    calls.make("google_compute_instance", machine)
    cloud.take()
    assert calls.apply("google_compute_disk", disk, None) == (None, [])
    assert lines(cloud.take()) == [
        f"GET zones/{ZONE}/disks/data",
        f"GET zones/{ZONE}/instances/k1",
        f"POST zones/{ZONE}/instances/k1/detachDisk?deviceName=data",
        f"DELETE zones/{ZONE}/disks/data",
    ]


def test_what_is_not_changed_in_place_is_refused(calls: Calls) -> None:
    network = calls.make("google_compute_network", {"name": "n", "auto_create_subnetworks": False})
    planned = network | {"routing_mode": "GLOBAL", "mtu": 1500}
    state, [said] = calls.apply("google_compute_network", network, planned)
    assert state == network
    assert said == "this stand-in for hashicorp/google does not change mtu of google_compute_network"


def test_what_is_not_there_is_not_imported(calls: Calls) -> None:
    request = SimpleNamespace(type_name="google_compute_disk", id="nothing")
    [said] = calls.servicer.ImportResourceState(request)["diagnostics"]
    assert said["summary"] == "Cannot import non-existent remote object"
