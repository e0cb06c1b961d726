"""The resource `stoneware_machine`, driven by real Terraform over machines in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoneware.errors import BuildError, InputError, MachineError
from stoneware.model.limits import Ulimit
from stoneware.model.machine import MachineSpec, Phase
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .configurations import ADDRESS, FULL, machine, machines, values
from .conftest import IMAGE, Configure

pytestmark = pytest.mark.tool


def test_created_as_asked_and_nothing_to_do_afterwards(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(**FULL))
    assert terraform.apply().added == 1
    [made] = platform.machines()
    assert made.spec == MachineSpec(
        name="m1",
        source=IMAGE,
        kind="builder",
        hostname="broker-1",
        metadata={
            "config": "A=1",
            "other": "x",
            "stoneware-volumes": "data\t/data\nb\t/b\n",
            "stoneware-secrets": "token\t0400\tc-token\tv1\n",
        },
        files={"bundle.tar": Path("/machines/m1/files/bundle.tar")},
        caches=("apt", "maven"),
        volumes=(VolumeMount("data", "/data"), VolumeMount("b", "/b", read_only=True)),
        ports=(PortMapping("0.0.0.0", 0, 80), PortMapping("0.0.0.0", 5353, 53, "udp")),
        memory=512 << 20,
        cpus=0.1,
        pids_limit=500,
        ulimits=(Ulimit("nofile", 1024, 4096), Ulimit("nproc", 99, 99)),
        disk=1 << 30,
        log_max_size=1 << 20,
        log_max_file=2,
        read_only=True,
        restart="on-failure:3",
        stop_timeout=360.5,
        image_ref="hello:latest",
        labels={"a": "b"},
        networks=("front", "back"),
        names=("broker", "broker.c.internal"),
        secrets=(SecretMount("c-token", "token", "v1"),),
    )
    assert terraform.plan().noop
    assert terraform.plan().drift == ()


@pytest.mark.parametrize("optional", [{}, {"metadata": "{}", "volumes": "[]", "ports": "[]", "labels": "{}"}])
def test_what_is_left_out_or_empty_is_no_difference(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, optional: dict[str, str]
) -> None:
    configure(machine(**optional))
    terraform.apply()
    found = values(terraform)
    assert {name: found[name] for name in ("id", "ip", "phase", "image_id", "kind", "restart")} == {
        "id": "m00000001",
        "ip": "10.0.0.2",
        "phase": "running",
        "image_id": IMAGE.removeprefix("image:"),
        "kind": "machine",
        "restart": "no",
    }
    assert terraform.plan().noop


def test_metadata_is_changed_in_place(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(metadata='{ "keep" = "1", "change" = "1", "drop" = "1" }'))
    terraform.apply()
    platform.calls.clear()
    configure(machine(metadata='{ "keep" = "1", "change" = "2", "new" = "1" }'))
    [change] = terraform.plan().changes
    assert change.actions == ("update",)
    assert terraform.apply().changed == 1
    assert platform.calls == ["set_metadata m1 ['change', 'drop', 'new']"]
    [made] = platform.machines()
    assert made.id == "m00000001"
    assert made.spec.metadata == {"keep": "1", "change": "2", "new": "1"}
    assert terraform.plan().noop


CHANGED = {
    "kind": '"machine"',
    "hostname": '"broker-2"',
    "files": '{ "bundle.tar" = "/tmp/other.tar" }',
    "volumes": '[{ volume = "data", path = "/data" }]',
    "ports": "[{ machine_port = 81 }]",
    "caches": '["apt"]',
    "memory": "null",
    "cpus": "0.2",
    "pids_limit": "null",
    "ulimits": '[{ name = "nproc", soft = 99 }]',
    "disk": "null",
    "log_max_size": "null",
    "log_max_file": "3",
    "read_only": "null",
    "restart": "null",
    "names": '["other"]',
    "networks": '["back"]',
    "recreate_on": '"2"',
}


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_what_is_immutable_replaces_the_machine(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, name: str
) -> None:
    configure(machine(**FULL))
    terraform.apply()
    configure(machine(**{**FULL, name: CHANGED[name]}))
    plan = terraform.plan()
    [change] = plan.changes
    assert change.replaces
    assert change.replace_for == (name,)
    done = terraform.apply(plan)
    assert (done.added, done.removed) == (1, 1)
    assert [made.id for made in platform.machines()] == ["m00000002"]
    assert terraform.plan().noop


def test_names_and_limits_are_changed_in_place(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    platform.put_secret("c-key", b"x")
    secret = '[{ secret = "%s", target = "token", version = "%s" }]'
    old = {"labels": '{ "a" = "b" }', "secrets": secret % ("c-token", "v1"), "stop_timeout": "20"}
    configure(machine(image_ref='"hello:latest"', **old))
    terraform.apply()
    platform.calls.clear()
    new = {"labels": '{ "a" = "c" }', "secrets": secret % ("c-key", "v2"), "stop_timeout": "30.5"}
    configure(machine(image_ref='"hello:1a2b3c"', metadata='{ "k" = "v" }', **new))
    plan = terraform.plan()
    assert [change.actions for change in plan.changes] == [("update",)]
    assert plan.changes[0].unknown == ("health", "phase")
    assert terraform.apply(plan).changed == 1
    assert platform.calls == [
        "amend m1 ['image_ref', 'labels', 'secrets', 'stop_timeout']",
        "set_metadata m1 ['k']",
    ]
    [made] = platform.machines()
    assert (made.id, made.image, made.spec.stop_timeout) == ("m00000001", "hello:1a2b3c", 30.5)
    assert made.spec.secrets == (SecretMount("c-key", "token", "v2"),)
    assert terraform.plan().noop
    configure(machine())  # all left out: back to the defaults
    terraform.apply()
    [made] = platform.machines()
    assert (made.image, dict(made.spec.labels), made.spec.secrets) == ("", {}, ())
    assert terraform.plan().noop


def test_a_default_comes_back_when_the_value_is_taken_out(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(restart='"always"'))
    terraform.apply()
    configure(machine())
    assert terraform.plan().changes[0].replace_for == ("restart",)
    terraform.apply()
    assert platform.machines()[0].spec.restart == "no"


def test_several_failures_are_all_told(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    for name in ("m1", "m2"):
        platform.create(MachineSpec(name, IMAGE))
    configure(machines("m1", "m2", "m3"))
    with pytest.raises(TerraformError, match="Terraform could not apply the changes") as caught:
        terraform.apply()
    assert "'m1' is in use (with stoneware_machine.m[\"m1\"]" in caught.value.details
    assert "'m2' is in use (with stoneware_machine.m[\"m2\"]" in caught.value.details
    assert "To do next: stoneware rm -f m1" in caught.value.details
    assert [resource.address for resource in terraform.state().resources] == ['stoneware_machine.m["m3"]']


def test_a_machine_that_vanished_is_made_again(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine())
    terraform.apply()
    platform.destroy("m1")
    plan = terraform.plan()
    assert [change.actions for change in plan.changes] == [("create",)]
    assert [(change.address, change.actions) for change in plan.drift] == [(ADDRESS, ("delete",))]
    terraform.apply(plan)
    assert [made.id for made in platform.machines()] == ["m00000002"]


def test_what_was_changed_behind_its_back_is_seen_and_set_right(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(metadata='{ "config" = "A=1" }'))
    terraform.apply()
    platform.set_metadata("m1", {"config": "A=evil", "more": "x"})
    platform.stop("m1")
    plan = terraform.plan()
    assert [change.actions for change in plan.changes] == [("update",)]
    assert [change.actions for change in plan.drift] == [("update",)]
    terraform.apply(plan)
    [made] = platform.machines()
    assert made.spec.metadata == {"config": "A=1"}
    assert made.phase is Phase.RUNNING
    assert terraform.plan().noop


def test_destroying_what_is_gone_is_fine(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine())
    terraform.apply()
    platform.destroy("m1")
    terraform.destroy()
    assert terraform.state().resources == ()


def test_a_create_that_fails_leaves_nothing_in_the_state(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine())
    platform.fail_next_create = InputError("port 80 is in use", details="by nginx", resolution="stop nginx")
    with pytest.raises(TerraformError) as caught:
        terraform.apply()
    error = caught.value
    assert (error.brief, error.details, error.resolution) == ("port 80 is in use", "by nginx", "stop nginx")
    assert error.exit_code == 2
    assert error.diagnostics[0].address == ADDRESS
    assert terraform.state().resources == ()
    assert terraform.apply().added == 1


def test_a_machine_that_was_made_but_failed_is_tainted_and_replaced(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine())
    platform.fail_after_create = MachineError("it did not boot", details="kernel panic")
    with pytest.raises(BuildError, match="it did not boot"):
        terraform.apply()
    resource = terraform.state().get(ADDRESS)
    assert resource is not None
    assert resource.tainted
    assert resource.values["phase"] == "failed"
    done = terraform.apply()
    assert (done.added, done.removed) == (1, 1)
    assert [made.id for made in platform.machines()] == ["m00000002"]


def test_a_machine_of_someone_else_is_neither_taken_nor_destroyed(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    theirs = platform.create(MachineSpec("m1", IMAGE))
    configure(machine())
    with pytest.raises(TerraformError, match="the machine name 'm1' is in use") as caught:
        terraform.apply()
    assert caught.value.diagnostics[0].attribute == "name"
    assert caught.value.diagnostics[0].location.startswith("main.tf:")
    terraform.destroy()
    assert platform.machines() == [theirs]


def test_many_machines_at_once(terraform: Terraform, configure: Configure, platform: MemoryPlatform) -> None:
    configure(machines(*(f"m{n}" for n in range(20))))
    assert terraform.apply().added == 20
    assert len(platform.machines()) == 20
    assert terraform.plan().noop
    assert terraform.destroy().removed == 20


def test_metadata_does_not_show_in_plans(tmp_path: Path, terraform: Terraform, configure: Configure) -> None:
    configure(machine(metadata='{ "config" = "PASSWORD=hunter2" }'))
    plan = terraform.plan()
    assert "hunter2" not in terraform.show(plan)
    assert "hunter2" not in repr(plan)
    terraform.apply(plan)
    assert "hunter2" not in repr(terraform.state())
    state = tmp_path / "terraform.tfstate"
    assert "hunter2" in state.read_text()  # Terraform itself masks no state,
    assert state.stat().st_mode & 0o077 == 0  # so nobody else may read it
    assert not plan.file.exists()


CASES = json.loads((Path(__file__).parent / "cases" / "bad-values.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_bad_values_are_refused_before_anything_is_done(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, case: dict[str, str]
) -> None:
    configure(f'resource "stoneware_machine" "m" {{\n{case["config"]}\n}}')
    with pytest.raises(TerraformError) as caught:
        terraform.plan()
    [diagnostic] = caught.value.diagnostics
    assert (diagnostic.summary, diagnostic.detail) == (case["summary"], case["detail"])
    assert diagnostic.attribute == case["attribute"]
    assert diagnostic.location.startswith("main.tf:")
    assert platform.calls == []
