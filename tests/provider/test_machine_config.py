"""Machines with config, and images with a contract and a health check, driven by real Terraform."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.machinefile.recipe import HealthCheck
from stoneware.model.machine import Health
from stoneware.provider.server import ProviderServer
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .configurations import machine
from .conftest import Configure
from .memory_images import MemoryImages

pytestmark = pytest.mark.tool

CONTRACT = {
    "variables": {"GREETING": {"required": True, "secret": False, "builtin": False, "templates": ["/x:1"]}},
    "needs": [{"text": "${GREETING}", "at": ["/x:1"]}],
    "env": {},
    "schema": None,
}


@pytest.fixture
def images() -> MemoryImages:
    return MemoryImages()


@pytest.fixture
def with_images(tmp_path: Path, platform: MemoryPlatform, images: MemoryImages) -> Terraform:
    return Terraform(tmp_path, provider=ProviderServer(platform, images=images))


def test_config_becomes_metadata_and_stays_a_map(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(config='{ B = "2 lines\\nhere", A = "1" }', metadata='{ k = "v" }'))
    terraform.apply()
    assert platform.machines()[0].spec.metadata == {
        "stoneware-config": "A=1\nB=2 lines\\nhere\n",
        "stoneware-mode": "run",
        "enable-guest-attributes": "TRUE",
        "k": "v",
    }
    assert terraform.plan().noop
    configure(machine(config='{ A = "2" }', metadata='{ k = "v" }'))
    platform.calls.clear()
    assert terraform.apply().changed == 1
    assert platform.calls == ["set_metadata m1 ['stoneware-config']"]
    assert terraform.plan().noop
    platform.set_metadata("m1", {"stoneware-config": "A=evil\n", "more": "x"})
    [change] = terraform.plan().drift
    assert change.actions == ("update",)
    terraform.apply()
    assert platform.machines()[0].spec.metadata["stoneware-config"] == "A=2\n"
    assert "more" not in platform.machines()[0].spec.metadata
    assert terraform.plan().noop


def test_config_is_held_against_the_images_contract(
    with_images: Terraform, configure: Configure, images: MemoryImages
) -> None:
    source = f'"image:{images.add("web", "latest", contract=CONTRACT, volumes=("/data",))}"'
    with with_images as terraform:
        configure(machine(config="{}").replace("IMAGE", source))
        with pytest.raises(TerraformError, match="cannot start with this config: 1 problem") as caught:
            terraform.plan()
        assert "GREETING is not set" in caught.value.details
        assert 'give it in config: GREETING = "' in caught.value.details
        assert caught.value.diagnostics[0].attribute == "config"
        configure(machine(config='{ GREETING = "hi" }').replace("IMAGE", source))
        plan = terraform.plan()
        assert [warning.summary for warning in plan.warnings] == [
            "the image wants a disk at /data: without one, its data is removed with the machine m1"
        ]
        terraform.apply(plan)
        secrets = '[{ secret = "c-token", target = "GREETING", version = "1" }]'
        configure(machine(config="{}", secrets=secrets).replace("IMAGE", source))
        with pytest.raises(TerraformError, match="1 problem"):  # the contract calls it no secret
            terraform.plan()


def test_an_image_without_a_health_check_is_not_waited_for(
    with_images: Terraform, configure: Configure, images: MemoryImages, platform: MemoryPlatform
) -> None:
    plain = f'"image:{images.add("web", "plain")}"'
    test = HealthCheck(test=("true",))
    checked = f'"image:{images.add("web", "checked", healthcheck=test)}"'
    platform.boot = lambda name: platform.show(name, health=Health.HEALTHY)  # type: ignore[method-assign]
    with with_images as terraform:
        configure(machine(wait_for='"healthy"').replace("IMAGE", plain))
        with pytest.raises(TerraformError, match="has no health check to wait for") as caught:
            terraform.plan()
        assert caught.value.diagnostics[0].attribute == "wait_for"
        override = '{ stoneware-healthcheck = "interval=1000\\ntrue" }'
        configure(machine(wait_for='"healthy"', metadata=override).replace("IMAGE", plain))
        terraform.apply()
        configure(machine(wait_for='"healthy"').replace("IMAGE", checked))
        terraform.apply()


def test_config_is_checked_before_the_creation_where_the_image_was_not_known(
    with_images: Terraform, configure: Configure, images: MemoryImages, platform: MemoryPlatform
) -> None:
    image_id = images.add("web", "latest", contract=CONTRACT)
    later = f'resource "terraform_data" "later" {{ input = "image:{image_id}" }}\n'
    configure(later + machine(config="{}").replace("IMAGE", "terraform_data.later.output"))
    with with_images as terraform:
        plan = terraform.plan()
        with pytest.raises(TerraformError, match="cannot start with this config"):
            terraform.apply(plan)
    assert platform.machines() == []
