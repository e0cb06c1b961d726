"""Networks with subnets: what a plan, drift and a rollout say of them, and how `up` changes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stoneware.cluster.drift import find_drift
from stoneware.cluster.model import Desired, Observed
from stoneware.cluster.plan import make_plan
from stoneware.cluster.subnets import leaving, missing, with_subnets
from stoneware.cluster.tfvars import from_tfvars, to_tfvars
from tests.cluster.observation_documents import RESOURCES
from tests.cluster.support import observation_of, wanted_of

pytestmark = pytest.mark.pure
NETWORK = "shop-default"
FIRST, SECOND = "10.5.0.0/24", "10.6.0.0/24"


def wanted(*subnets: str, **addresses: str) -> Desired:
    """Return what is wanted with subnets of the network, and addresses of services of one machine."""
    services = {name: {"addresses": {NETWORK: address}} for name, address in addresses.items()}
    return wanted_of({"networks": {NETWORK: {"subnets": list(subnets)}}, "services": services})


def seen(before: Desired, **ips: str) -> Observed:
    """Return the observation of a cluster that is as it was wanted, addresses too; `ips` of services else."""
    observed = observation_of(before)
    machines = {
        name: replace(
            found,
            machine=replace(
                found.machine,
                ip=found.machine.spec.addresses.get(NETWORK)
                or ips.get(name.removesuffix("-1"), found.machine.ip),
            ),
        )
        for name, found in observed.machines.items()
    }
    return replace(observed, machines=machines)


def steps(desired: Desired, observed: Observed) -> list[str]:
    plan = make_plan(desired, observed)
    return [f"{step.name}: {step.action}: {'; '.join(step.reasons)}" for step in plan.changes]


def test_the_variables_keep_them() -> None:
    tfvars = to_tfvars(wanted(FIRST, SECOND, db="10.5.0.5"), None, {"db-1"})
    assert tfvars["networks"][NETWORK]["subnets"] == [FIRST, SECOND]
    assert tfvars["machines"]["db-1"]["addresses"] == {NETWORK: "10.5.0.5"}
    again = from_tfvars("shop", tfvars)
    assert again.networks[NETWORK].subnets == (FIRST, SECOND)
    assert again.machines["db-1"].spec.addresses == {NETWORK: "10.5.0.5"}
    assert set(to_tfvars(wanted(), None, {"db-1"})["networks"][NETWORK]) == {"labels"}


def test_what_is_as_wanted_is_left_alone() -> None:
    desired = wanted(FIRST, SECOND, db="10.5.0.5")
    observed = seen(desired)
    assert steps(desired, observed) == []
    assert find_drift(desired, observed, (), None).items == ()  # type: ignore[arg-type]


ORDER = "takes addresses of its subnets in another order:"
KEPT = "machines keep the addresses they have until they are started again"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([FIRST], [FIRST, SECOND], f"gains the subnet {SECOND}; {KEPT}"),
        ([FIRST, SECOND], [FIRST], f"loses the subnet {SECOND}"),
        ([FIRST, SECOND], [SECOND, FIRST], f"{ORDER} {SECOND}, {FIRST}"),
        ([], [FIRST, SECOND], f"gains the subnets {FIRST}, {SECOND}; {KEPT}"),
    ],
)
def test_subnets_change_in_place(before: list[str], after: list[str], words: str) -> None:
    observed = seen(wanted(*before))
    assert steps(wanted(*after), observed) == [f"{NETWORK}: update config: {words}"]


def test_a_machine_with_another_address_is_made_again() -> None:
    observed = seen(wanted(FIRST, db="10.5.0.5"))
    assert steps(wanted(FIRST, db="10.5.0.6"), observed) == [
        "db-1: replace: address shop-default: 10.5.0.5 → 10.5.0.6"
    ]


def test_a_machine_in_a_subnet_that_goes_is_made_again_and_the_subnet_goes_last() -> None:
    after = wanted(SECOND)
    observed = seen(wanted(FIRST), db="10.5.0.5")
    said = steps(after, observed)
    assert said[0].startswith(f"{NETWORK}: update config: gains the subnet {SECOND}")
    assert said[0].endswith(f"loses the subnet {FIRST}")
    why = f"its address 10.5.0.5 is in the subnet {FIRST}, which the network {NETWORK} loses"
    assert said[1:] == [f"db-1: replace: {why}"]
    asked = steps(wanted(SECOND, db="10.6.0.5"), seen(wanted(FIRST, db="10.5.0.5")))
    assert asked[1:] == [f"db-1: replace: address {NETWORK}: 10.5.0.5 → 10.6.0.5"]
    gone = leaving(after, observed, ["db-1"])
    assert with_subnets(after, gone).networks[NETWORK].subnets == (SECOND, FIRST)
    assert leaving(after, observed, ["web-1"]) == {}
    # One that becomes larger is changed at once, and its machines stay.
    larger = wanted("10.5.0.0/16")
    assert [text.partition(":")[0] for text in steps(larger, observed)] == [NETWORK]
    assert leaving(larger, observed, ["db-1"]) == {}


def test_a_rollout_needs_the_subnet_first() -> None:
    observed = seen(wanted(FIRST))
    machine = wanted(FIRST, SECOND, db="10.6.0.5").machines["db-1"]
    assert list(missing(machine, wanted(FIRST, SECOND), observed)) == ["10.6.0.5 on shop-default"]
    assert list(missing(machine, wanted(FIRST, SECOND), seen(wanted(FIRST, SECOND)))) == []


def drift_words(found: Any) -> list[tuple[str, str, str, str]]:
    return [(item.machine, item.what, item.wanted, item.found) for item in found.items]


def test_drift_sees_both() -> None:
    observed = seen(wanted(FIRST, db="10.5.0.5"))
    found = find_drift(wanted(FIRST, SECOND, db="10.5.0.6"), observed, None, RESOURCES)
    assert sorted(drift_words(found)) == [
        ("db-1", "address shop-default", "10.5.0.6", "10.5.0.5"),
        (NETWORK, "subnets", f"{FIRST}, {SECOND}", FIRST),
    ]
