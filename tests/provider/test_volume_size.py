"""The size of a `stoneware_volume`, driven by real Terraform."""

from __future__ import annotations

import pytest

from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .conftest import Configure
from .test_networks_volumes import write

pytestmark = pytest.mark.tool

MIB = 1 << 20


def size(platform: MemoryPlatform) -> int | None:
    found = platform.volume("data")
    assert found is not None
    return found.size


def test_it_is_set_changed_in_place_and_put_back(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    write(configure, "volume", f"size = {512 * MIB}")
    terraform.apply()
    assert size(platform) == 512 * MIB
    assert terraform.plan().noop
    write(configure, "volume", f"size = {1024 * MIB}", 'labels = { "a" = "b" }')
    [change] = terraform.plan().changes
    assert change.actions == ("update",)
    terraform.apply()
    assert size(platform) == 1024 * MIB
    assert terraform.plan().noop
    platform.create_volume("data", {}, 256 * MIB)  # by hand
    assert not terraform.plan().noop
    terraform.apply()
    assert size(platform) == 1024 * MIB


def test_without_one_what_there_is_stays(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    address = write(configure, "volume")
    terraform.apply()
    assert size(platform) is None
    platform.create_volume("data", {}, 256 * MIB)  # by hand
    assert terraform.plan().noop
    write(configure, "volume", f"size = {512 * MIB}")
    terraform.apply()
    write(configure, "volume")
    terraform.apply()
    assert size(platform) == 512 * MIB
    assert terraform.plan().noop
    state = terraform.state().get(address)
    assert state is not None
    assert state.values["size"] is None


@pytest.mark.parametrize("text", ["1", "-5", "1000000000.5", "1e400"])
def test_what_is_no_size_is_refused(terraform: Terraform, configure: Configure, text: str) -> None:
    write(configure, "volume", f"size = {text}")
    with pytest.raises(TerraformError) as caught:
        terraform.plan()
    assert caught.value.diagnostics[0].attribute == "size"
