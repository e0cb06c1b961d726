"""Where a machine's values come from and go to: imports, the data source, what is known after apply only."""

from __future__ import annotations

import re

import pytest

from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import PortMapping
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .configurations import ADDRESS, machine
from .conftest import IMAGE, Configure

pytestmark = pytest.mark.tool


def test_an_existing_machine_is_imported_by_name(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    platform.create(
        MachineSpec("m1", IMAGE, metadata={"a": "b"}, cpus=0.1, ports=(PortMapping("0.0.0.0", 0, 80),))
    )
    port = '[{ machine_port = 80, host_port = 0, host_ip = "0.0.0.0", protocol = "tcp" }]'
    configure(machine(metadata='{ "a" = "b" }', cpus="0.1", ports=port, kind='"machine"'))
    terraform.import_(ADDRESS, "m1")
    assert terraform.plan().noop
    assert terraform.destroy().removed == 1
    assert platform.machines() == []


def test_import_of_a_machine_that_is_not_there(terraform: Terraform, configure: Configure) -> None:
    configure(machine())
    with pytest.raises(TerraformError, match="there is no machine 'm9'") as caught:
        terraform.import_(ADDRESS, "m9")
    assert caught.value.resolution.startswith("stoneware ps -a")
    assert caught.value.exit_code == InputError.exit_code


def test_values_that_are_known_after_apply_only(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(
        """
        resource "terraform_data" "later" { input = "m7" }
        resource "stoneware_machine" "m" {
          name     = terraform_data.later.output
          source   = IMAGE
          cpus     = length(terraform_data.later.output)
          metadata = { "a" = "known", "b" = terraform_data.later.id }
          ports    = [{ machine_port = length(terraform_data.later.id) }]
          volumes  = [{ volume = "v", path = "/${terraform_data.later.id}" }]
        }
        output "ip" { value = stoneware_machine.m.ip }
        """
    )
    plan = terraform.plan()
    change = next(change for change in plan.changes if change.address == ADDRESS)
    assert {"name", "cpus", "metadata", "ports", "volumes", "id", "ip", "phase"} <= set(change.unknown)
    assert terraform.apply(plan).outputs == {"ip": "10.0.0.2"}
    [made] = platform.machines()
    assert (made.name, made.spec.cpus, made.spec.ports[0].machine_port) == ("m7", 2.0, 36)
    assert sorted(made.spec.metadata) == ["a", "b", "stoneware-volumes"]
    assert terraform.plan().noop


def test_the_data_source(terraform: Terraform, configure: Configure, platform: MemoryPlatform) -> None:
    made = platform.create(
        MachineSpec("db", IMAGE, metadata={"k": "v"}, ports=(PortMapping("0.0.0.0", 0, 80),))
    )
    platform.report("db", **{"stoneware/status": "{}"})
    configure(
        """
        data "stoneware_machine" "db" {
          name = "db"
        }
        output "db" {
          value = { for name, value in data.stoneware_machine.db : name => value if name != "metadata" }
        }
        output "metadata" { value = nonsensitive(data.stoneware_machine.db.metadata["k"]) }
        """
    )
    outputs = terraform.apply().outputs
    created = outputs["db"].pop("created")
    assert outputs == {
        "metadata": "v",
        "db": {
            "name": "db",
            "id": "m00000001",
            "image_id": IMAGE.removeprefix("image:"),
            "ip": "10.0.0.2",
            "phase": "running",
            "health": "none",
            "published": [{"machine_port": 80, "host_port": 40000, "host_ip": "0.0.0.0", "protocol": "tcp"}],
            "kind": "machine",
            "source": IMAGE,
            "image": "",
            "hostname": "db",
            "networks": [],
            "labels": {},
            "guest_attributes": {"stoneware/status": "{}"},
            "config_digest": made.config_digest,
            "running": True,
            "error": "",
        },
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created)
    platform.destroy("db")
    with pytest.raises(TerraformError, match="there is no machine 'db'") as caught:
        terraform.plan()
    assert caught.value.diagnostics[0].attribute == "name"
