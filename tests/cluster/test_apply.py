"""What Terraform plans for a cluster, against what may be touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.apply import ClusterTerraform
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.events import Silent
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import SecretMount
from stoneware.platforms.cluster_files import FileRecords
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.terraform import variables
from stoneware.terraform.guard import PlanRefused
from tests.platforms.memory import MemoryPlatform

pytestmark = pytest.mark.tool
OLD, NEW = f"image:sha256:{'a' * 64}", f"image:sha256:{'b' * 64}"


def declared(*sources: str, **changes: Any) -> dict[str, Any]:
    """Return the variables of a cluster with a machine for each source."""
    specs = [
        MachineSpec(
            f"c-web-{slot}",
            source,
            **{"networks": ("c-default",), "secrets": (SecretMount("c-token", "token", "v1"),), **changes},
        )
        for slot, source in enumerate(sources, start=1)
    ]
    return {
        "networks": {"c-default": variables.labelled({})},
        "volumes": {},
        "machines": {
            f"web-{slot}": variables.machine(spec, recreate_on="") for slot, spec in enumerate(specs, start=1)
        },
    }


def machine(slot: int) -> Subject:
    return Subject(Kind.MACHINE, f"web-{slot}")


def test_what_an_earlier_version_left_out_of_its_state_is_no_change(tmp_path: Path) -> None:
    platform = MemoryPlatform()
    platform.put_secret("c-token", b"hunter2")
    directory = ClusterDirectory(FileRecords(tmp_path / "c"))
    directory.path.mkdir()
    everything = frozenset({Subject(Kind.NETWORK, "c-default"), machine(1), machine(2)})
    with ClusterTerraform(platform, directory, Silent()) as terraform:
        terraform.configure(declared(OLD, OLD))
        terraform.apply(everything)

        state = directory.path / "terraform.tfstate"
        document = json.loads(state.read_text())
        parts = [
            secret
            for resource in document["resources"]
            if resource["type"] == "stoneware_machine"
            for instance in resource["instances"]
            for secret in instance["attributes"]["secrets"]
        ]
        assert len(parts) == 2
        for secret in parts:  # owners came later
            assert (secret.pop("uid"), secret.pop("gid")) == (0, 0)
        state.write_text(json.dumps(document))

        terraform.configure(declared(NEW, OLD))
        terraform.check(frozenset({machine(1)}))
        terraform.apply(frozenset({machine(1)}), strict=True)
        assert {name: str(platform.observe(f"c-{name}").spec.source) for name in ("web-1", "web-2")} == {  # type: ignore[union-attr]
            "web-1": NEW,
            "web-2": OLD,
        }
        amended = [call for call in platform.calls if call.startswith("amend")]
        assert amended == []

        # Owners that differ are a change, and so is a value that plans mask.
        terraform.configure(declared(NEW, OLD, secrets=(SecretMount("c-token", "token", "v1", uid=7),)))
        with pytest.raises(PlanRefused) as refused:
            terraform.check(frozenset({machine(1)}))
        assert "web-2" in refused.value.violations[0]
        terraform.configure(declared(NEW, OLD, metadata={"stoneware-config": "A=2\n"}))
        with pytest.raises(PlanRefused) as refused:
            terraform.check(frozenset({machine(1)}))
        assert "web-2" in refused.value.violations[0]
