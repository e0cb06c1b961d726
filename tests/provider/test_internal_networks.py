"""Whether a network is internal, driven by real Terraform."""

from __future__ import annotations

import json

import pytest

from stoneware.terraform.runner import STATE_FILE, Terraform
from tests.platforms.memory import MemoryPlatform

from .conftest import Configure

pytestmark = pytest.mark.tool


def write(configure: Configure, *lines: str) -> None:
    body = "".join(f"  {line}\n" for line in ('name = "data"', *lines))
    configure(f'resource "stoneware_network" "x" {{\n{body}}}')


def is_internal(platform: MemoryPlatform) -> bool:
    network = platform.network("data")
    assert network is not None
    return network.internal


def test_it_changes_in_place(terraform: Terraform, configure: Configure, platform: MemoryPlatform) -> None:
    for line, internal in (("internal = true", True), ("", False), ("internal = true", True)):
        write(configure, line)
        terraform.apply()
        assert is_internal(platform) is internal
        assert terraform.plan().noop
    made = platform.network("data")
    write(configure, "internal = false")
    [change] = terraform.plan().changes
    assert (change.actions, change.changed) == (("update",), ("internal",))
    terraform.apply()
    assert not is_internal(platform)
    assert terraform.plan().noop
    again = platform.network("data")
    assert made is not None
    assert again is not None
    assert made.created == again.created


def test_a_change_behind_its_back_is_put_right(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    write(configure, "internal = true")
    terraform.apply()
    platform.change_network("data", {}, internal=False)
    terraform.apply()
    assert is_internal(platform)


def test_a_state_of_an_earlier_version_means_no(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    write(configure)
    terraform.apply()
    state = terraform.directory / STATE_FILE
    document = json.loads(state.read_text())
    del document["resources"][0]["instances"][0]["attributes"]["internal"]
    state.write_text(json.dumps(document))
    assert terraform.plan().noop
    write(configure, "internal = true")
    terraform.apply()
    assert is_internal(platform)
