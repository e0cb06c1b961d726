"""The resources `stoneware_network` and `stoneware_volume`, driven by real Terraform."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import Network, Volume, VolumeMount
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform, managed_addresses
from tests.platforms.memory import MemoryPlatform

from .conftest import IMAGE, Configure

pytestmark = [pytest.mark.tool, pytest.mark.parametrize("kind", ["network", "volume"])]


def write(configure: Configure, kind: str, *lines: str, name: str = "data") -> str:
    body = "".join(f"  {line}\n" for line in (f'name = "{name}"', *lines))
    configure(f'resource "stoneware_{kind}" "x" {{\n{body}}}')
    return f"stoneware_{kind}.x"


def found(platform: MemoryPlatform, kind: str, name: str = "data") -> Volume | Network | None:
    return platform.volume(name) if kind == "volume" else platform.network(name)


def make(platform: MemoryPlatform, kind: str, name: str = "data", **labels: str) -> None:
    (platform.create_volume if kind == "volume" else platform.create_network)(name, labels)


def use(platform: MemoryPlatform, kind: str) -> None:
    mounts = (VolumeMount("data", "/data"),) if kind == "volume" else ()
    networks = ("data",) if kind == "network" else ()
    platform.create(MachineSpec("m1", IMAGE, volumes=mounts, networks=networks))


def test_life(terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str) -> None:
    address = write(configure, kind, 'labels = { "a" = "b" }')
    assert terraform.apply().added == 1
    made = found(platform, kind)
    assert made is not None
    assert made.labels == {"a": "b"}
    resource = terraform.state().get(address)
    assert resource is not None
    assert resource.values["id"] == "data"
    assert terraform.plan().noop
    write(configure, kind, 'labels = { "a" = "c" }')
    [change] = terraform.plan().changes
    assert (change.actions, change.unknown) == (("update",), ())
    assert terraform.apply().changed == 1
    changed = found(platform, kind)
    assert changed is not None
    assert (changed.labels, changed.created) == ({"a": "c"}, made.created)
    assert terraform.plan().noop
    write(configure, kind, name="other")
    plan = terraform.plan()
    assert plan.changes[0].replace_for == ("name",)
    terraform.apply(plan)
    assert found(platform, kind) is None
    assert terraform.plan().noop
    assert terraform.destroy().removed == 1
    assert found(platform, kind, "other") is None


@pytest.mark.parametrize("labels", ["", "labels = {}", "labels = null"])
def test_no_labels(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str, labels: str
) -> None:
    write(configure, kind, labels)
    terraform.apply()
    assert terraform.plan().noop


def test_what_exists_is_not_taken_but_imported(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    make(platform, kind, a="b")
    address = write(configure, kind, 'labels = { "a" = "b" }')
    with pytest.raises(TerraformError, match=f"the {kind} name 'data' is in use") as caught:
        terraform.apply()
    assert caught.value.diagnostics[0].attribute == "name"
    terraform.destroy()
    assert found(platform, kind) is not None
    assert terraform.adopt({address: "data"}) == (address,)
    assert terraform.adopt({address: "data"}) == ()
    assert terraform.plan().noop


def test_a_plan_imports_what_the_state_lacks(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    make(platform, kind, a="b")
    address = write(configure, kind, 'labels = { "a" = "b" }')
    plan = terraform.plan(imports={address: "data"})
    assert [(it.importing, it.actions) for it in plan.changes] == [("data", ("no-op",))]
    assert not plan.noop
    assert address not in managed_addresses(terraform.directory)
    done = terraform.apply(plan)
    assert (done.added, done.changed, done.removed) == (0, 0, 0)
    assert address in managed_addresses(terraform.directory)
    assert terraform.plan(imports={address: "no-such"}).noop  # known: it is not looked for


def test_import_of_what_is_not_there(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    address = write(configure, kind)
    with pytest.raises(TerraformError, match=f"there is no {kind} 'nine'"):
        terraform.import_(address, "nine")


def test_changes_behind_its_back(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    write(configure, kind, 'labels = { "a" = "b" }')
    terraform.apply()
    (platform.label_volume if kind == "volume" else platform.change_network)("data", {"a": "evil"})
    [change] = terraform.plan().changes
    assert change.actions == ("update",)
    terraform.apply()
    again = found(platform, kind)
    assert again is not None
    assert again.labels == {"a": "b"}
    (platform.destroy_volume if kind == "volume" else platform.destroy_network)("data")
    [change] = terraform.plan().changes
    assert change.actions == ("create",)
    terraform.apply()
    assert terraform.plan().noop


def test_one_in_use_is_not_destroyed(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    address = write(configure, kind)
    terraform.apply()
    use(platform, kind)
    with pytest.raises(TerraformError, match=f"the {kind} 'data' (is in use|has machines)") as caught:
        terraform.destroy()
    error = caught.value
    assert (error.details, error.resolution) == ("by m1", "stoneware rm -f m1")
    assert error.exit_code == InputError.exit_code
    assert terraform.state().get(address) is not None
    platform.destroy("m1")
    assert terraform.destroy().removed == 1


def test_destroying_what_is_gone_is_fine(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    write(configure, kind)
    terraform.apply()
    (platform.destroy_volume if kind == "volume" else platform.destroy_network)("data")
    terraform.destroy()
    assert terraform.state().resources == ()


def test_a_bad_name(terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str) -> None:
    write(configure, kind, name="-no good-")
    with pytest.raises(TerraformError) as caught:
        terraform.plan()
    [diagnostic] = caught.value.diagnostics
    assert (diagnostic.summary, diagnostic.attribute) == ("Bad value for name", "name")
    assert diagnostic.detail.startswith("'-no good-' is not ")


def test_a_name_that_is_known_after_apply_only(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, kind: str
) -> None:
    configure(
        f"""
        resource "terraform_data" "later" {{ input = "late" }}
        resource "stoneware_{kind}" "x" {{
          name   = terraform_data.later.output
          labels = {{ "id" = terraform_data.later.id }}
        }}
        """
    )
    plan = terraform.plan()
    change = next(change for change in plan.changes if change.type == f"stoneware_{kind}")
    assert change.unknown == ("created", "id", "labels", "name")
    terraform.apply(plan)
    assert found(platform, kind, "late") is not None
    assert terraform.plan().noop
