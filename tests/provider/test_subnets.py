"""The subnets of a network and the address of a machine, driven by real Terraform."""

from __future__ import annotations

import pytest

from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .conftest import IMAGE, Configure

pytestmark = pytest.mark.tool
FIRST, SECOND = "10.5.0.0/24", "10.6.0.0/24"


def write(configure: Configure, *subnets: str, address: str = "10.5.0.5", said: bool = True) -> None:
    words = ", ".join(f'"{subnet}"' for subnet in subnets)
    line = f"subnets = [{words}]" if said else ""
    configure(
        f"""
        resource "stoneware_network" "x" {{
          name = "data"
          {line}
        }}
        resource "stoneware_machine" "m" {{
          name      = "m1"
          source    = "{IMAGE}"
          networks  = [stoneware_network.x.name]
          addresses = {{ "data" = "{address}" }}
        }}
        """
    )


def test_subnets_change_in_place_and_an_address_makes_a_new_machine(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    for subnets in ((FIRST,), (FIRST, SECOND)):
        write(configure, *subnets)
        terraform.apply()
        network = platform.network("data")
        assert network is not None
        assert network.subnets == subnets
        assert terraform.plan().noop
    write(configure, SECOND)
    with pytest.raises(TerraformError, match="cannot lose the subnet"):
        terraform.apply()
    write(configure, FIRST, SECOND, address="10.6.0.5")
    changes = {change.address: change for change in terraform.plan().changes if not change.noop}
    assert list(changes) == ["stoneware_machine.m"]
    assert changes["stoneware_machine.m"].replace_for == ("addresses",)
    terraform.apply()
    machine = platform.observe("m1")
    assert machine is not None
    assert machine.ip == "10.6.0.5"
    for said in (True, False):
        platform.destroy("m1")
        write(configure, said=said)
        terraform.apply()
        assert terraform.plan().noop
    network = platform.network("data")
    assert network is not None
    assert network.subnets == ()


@pytest.mark.parametrize(
    ("subnets", "why"), [((FIRST, FIRST), "overlap"), (("8.8.8.0/24",), "not private"), (("x",), "no range")]
)
def test_what_is_no_subnet_is_refused_before_anything_is_made(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, subnets: tuple[str, ...], why: str
) -> None:
    write(configure, *subnets)
    with pytest.raises(TerraformError) as raised:
        terraform.plan()
    assert "Bad value for subnets" in raised.value.details
    assert why in raised.value.details
    assert platform.network("data") is None
