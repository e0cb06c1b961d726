"""The module local/cluster, and the directory of an older builder, with both ways to run Terraform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.directory import VARIABLES_FILE
from stoneware.model.limits import Ulimit
from stoneware.model.machine import MachineSpec, Phase
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.provider.infrastructure import CLUSTER_MODULE, StonewareInfrastructure
from stoneware.provider.server import ProviderServer
from stoneware.terraform import variables
from stoneware.terraform.configuration import (
    LIFT_VOLUMES,
    write_configuration,
)
from stoneware.terraform.guard import PlanRefused, check_plan
from stoneware.terraform.results import Progress, TerraformError
from stoneware.terraform.runner import Terraform, managed_addresses
from tests.platforms.memory import MemoryPlatform

from .conftest import IMAGE

pytestmark = pytest.mark.tool
DISKS = StonewareInfrastructure.disk_types


@pytest.fixture(params=["library", "binary"])
def terraform(
    request: pytest.FixtureRequest, tmp_path: Path, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terraform]:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    binary = request.getfixturevalue("binary") if request.param == "binary" else None
    with Terraform(tmp_path, provider=ProviderServer(platform), binary=binary) as running:
        yield running


def spec(slot: int, source: str = IMAGE, **changes: Any) -> MachineSpec:
    name = f"c-kafka-{slot}"
    wanted: dict[str, Any] = {
        "hostname": f"kafka-{slot}.c.internal",
        "names": (f"kafka-{slot}", "kafka"),
        "networks": ("c-default", "front"),
        "metadata": {"stoneware-config": f"ID={slot}\n", "stoneware-mode": "run"},
        "secrets": (SecretMount("c-token", "token", "v1"),),
        "volumes": (VolumeMount(f"{name}-data", "/data"),),
        "ports": (PortMapping("0.0.0.0", 9090 + slot, 9092),),
        "memory": 1 << 30,
        "cpus": 0.5,
        "pids_limit": 500,
        "ulimits": (Ulimit("nofile", 1024, 4096),),
        "disk": 1 << 30,
        "log_max_size": 1 << 20,
        "log_max_file": 2,
        "stop_timeout": 360.0,
        "image_ref": "kafka:latest",
        "labels": {"stoneware.cluster": "c", "stoneware.machine": f"kafka-{slot}"},
    }
    return MachineSpec(name, source, **{**wanted, **changes})


def write(directory: Path, machines: dict[str, Any], *, volumes: int = 3, lift: bool = False) -> None:
    labels = variables.labelled({"stoneware.cluster": "c"})
    tfvars = {
        "networks": {"c-default": labels},
        "volumes": {f"c-kafka-{slot}-data": labels for slot in range(1, volumes + 1)},
        "machines": machines,
    }
    write_configuration(
        directory,
        CLUSTER_MODULE,
        tfvars,
        variables_file=VARIABLES_FILE,
        overrides=[LIFT_VOLUMES] if lift else [],
    )


def machines(*slots: int, **changes: Any) -> dict[str, Any]:
    return {
        f"kafka-{slot}": variables.machine(spec(slot, **changes), recreate_on=f"config-{slot}")
        for slot in slots
    }


def address(slot: int) -> str:
    return f'stoneware_machine.machine["kafka-{slot}"]'


def test_a_clusters_whole_life(terraform: Terraform, platform: MemoryPlatform) -> None:
    directory = terraform.directory
    told: list[Progress] = []
    write(directory, machines(1, 2, 3))
    done = terraform.apply(progress=told.append)
    assert done.added == 7
    assert {event.address for event in told if event.status == "done"} == managed_addresses(directory)
    assert done.outputs["machines"]["kafka-1"] == {
        "name": "c-kafka-1",
        "id": platform.observe("c-kafka-1").id,  # type: ignore[union-attr]
        "image_id": IMAGE.removeprefix("image:"),
        "ip": platform.observe("c-kafka-1").ip,  # type: ignore[union-attr]
        "published": [{"host_ip": "0.0.0.0", "host_port": 9091, "machine_port": 9092, "protocol": "tcp"}],
    }
    wanted = spec(2)
    made = platform.observe("c-kafka-2")
    assert made is not None
    assert {**vars(made.spec), "metadata": None} == {**vars(wanted), "metadata": None}
    assert wanted.metadata.items() <= made.spec.metadata.items()
    assert terraform.plan().noop

    # One machine is killed behind its back: only that one is started.
    platform.show("c-kafka-3", phase=Phase.STOPPED, exit_code=137, ports=())
    plan = terraform.plan()
    assert [change.address for change in plan.changes if not change.noop] == [address(3)]
    check_plan(plan, allowed={address(3)}, disk_types=DISKS)
    terraform.apply(plan)
    assert terraform.plan().noop

    # Another image for one machine: it alone is replaced, and its disk stays.
    disk = platform.volume("c-kafka-1-data")
    write(directory, {**machines(1, source=IMAGE.replace("ab", "cd")), **machines(2, 3)})
    plan = terraform.plan()
    check_plan(plan, allowed={address(1)}, disk_types=DISKS)
    with pytest.raises(PlanRefused):
        check_plan(plan, allowed={address(2)}, disk_types=DISKS)
    terraform.apply(plan)
    assert platform.volume("c-kafka-1-data") == disk
    write(directory, machines(1, 2, 3))
    terraform.apply()

    # Scaled down, its volume stays; a volume alone is not destroyed by accident.
    write(directory, machines(1, 2))
    assert terraform.apply().removed == 1
    assert platform.volume("c-kafka-3-data") is not None
    with pytest.raises(TerraformError, match="could not plan the changes") as caught:
        terraform.plan(destroy=True)
    assert "prevent_destroy" in caught.value.details
    assert len(platform.machines()) == 2

    # Down keeps the volumes in the state, down --volumes does not.
    write(directory, {})
    terraform.apply()
    assert [volume.name for volume in platform.volumes()] == [f"c-kafka-{slot}-data" for slot in (1, 2, 3)]
    write(directory, {}, lift=True)
    terraform.destroy()
    assert (platform.volumes(), platform.machines()) == ([], [])
    assert [network.name for network in platform.networks()] == ["back", "front"]
    assert managed_addresses(directory) == frozenset()


def test_config_and_secrets_change_in_place_unless_they_recreate(
    terraform: Terraform, platform: MemoryPlatform
) -> None:
    write(terraform.directory, machines(1))
    terraform.apply()
    changed = spec(
        1, metadata={"stoneware-config": "ID=9\n"}, secrets=(SecretMount("c-token", "token", "v2"),)
    )
    write(terraform.directory, {"kafka-1": variables.machine(changed, recreate_on="config-1")})
    [change] = [change for change in terraform.plan().changes if not change.noop]
    assert change.actions == ("update",)
    terraform.apply()
    assert terraform.plan().noop
    write(terraform.directory, {"kafka-1": variables.machine(changed, recreate_on="config-9")})
    [change] = [change for change in terraform.plan().changes if not change.noop]
    assert change.replace_for == ("recreate_on",)
    terraform.apply()
    assert terraform.plan().noop


def test_the_engines_own_attributes_are_no_drift(terraform: Terraform, platform: MemoryPlatform) -> None:
    write(terraform.directory, machines(1))
    terraform.apply()
    platform.set_metadata("c-kafka-1", {"stoneware-inspect": "nonce"})
    plan = terraform.plan(refresh_only=True)
    assert plan.drift == ()
    assert terraform.plan().noop


def test_values_with_templates_in_them_stay_as_they_are(
    terraform: Terraform, platform: MemoryPlatform
) -> None:
    text = 'A=${x} %{if} "q" \\n é\n'
    write(terraform.directory, machines(1, metadata={"stoneware-config": text}))
    terraform.apply()
    [made] = platform.machines()
    assert made.spec.metadata["stoneware-config"] == text
    assert terraform.plan().noop


OLD = Path(__file__).parent / "cases" / "builder-state-1.json"


def test_what_an_older_version_left_is_destroyed(terraform: Terraform, platform: MemoryPlatform) -> None:
    """The module of then is in the directory as well, with the state that Terraform wrote then."""
    old = json.loads(OLD.read_text())
    for name, text in old["files"].items():
        (terraform.directory / name).write_text(text)
    (terraform.directory / "terraform.tfstate").write_text(json.dumps(old["state"]))
    platform.create(MachineSpec("b1", "checkpoint:abc", kind="builder", metadata={"k": "1"}, caches=("apt",)))
    assert managed_addresses(terraform.directory) == {"stoneware_machine.builder"}
    assert terraform.plan().noop
    assert terraform.destroy().removed == 1
    assert platform.machines() == []
