"""While a network exists each machine's name keeps its address in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from stoneware.files import read_json
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import router
from tests.documents import document_in
from tests.local import router_lab
from tests.local.router_lab import Lab

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


def attach(lab: Lab, name: str, *networks: str) -> router.Lease:
    """Attach a machine, as often as wanted: each time it is another one of that name."""
    lab.network(*networks)
    id = f"m{os.urandom(4).hex()}"
    gate = lab.router
    return gate.attach(lab.directory(name), id=id, name=name, hostname=name, networks=networks)


def destroy(lab: Lab, name: str) -> None:
    directory = lab.directory(name)
    lab.router.detach(document_in(directory / "network.json")["id"], name)
    shutil.rmtree(directory)


def rival(lab: Lab, address: str) -> str:
    """Return a name whose first choice is an address."""
    subnet = lab.router.subnet  # once: each look at the router repairs it
    names = (f"r{number}" for number in range(100000))
    return next(name for name in names if network.choose_address(subnet, name, ()) == address)


def test_an_address_is_kept_for_its_name_and_given_to_nobody_else(lab: Lab) -> None:
    lease = attach(lab, "h1", "n")
    other = rival(lab, lease.ip)
    destroy(lab, "h1")
    assert attach(lab, other, "n") != lease
    destroy(lab, other)
    assert attach(lab, other) != lease
    assert attach(lab, "h1", "n") == lease
    lab.network("m")
    destroy(lab, "h1")
    assert attach(lab, "h1", "m", "n") == lease
    assert read_json(lab.store.data / "networks" / "m" / "addresses.json") == {"h1": lease.ip}


def test_a_name_that_did_not_get_its_first_choice_keeps_what_it_got(lab: Lab) -> None:
    """Its first choice is free when it comes again: it must not take that."""
    first = attach(lab, "h1")
    second = attach(lab, rival(lab, first.ip), "n")
    assert second != first
    destroy(lab, "h1")
    destroy(lab, rival(lab, first.ip))
    assert attach(lab, rival(lab, first.ip), "n") == second


def test_it_is_kept_over_a_reboot_and_a_repair(lab: Lab) -> None:
    first = attach(lab, "h1")
    name = rival(lab, first.ip)
    lease = attach(lab, name, "n")
    for each in ("h1", name):
        destroy(lab, each)
    router.teardown(lab.store)
    assert attach(lab, name, "n") == lease
    destroy(lab, name)
    shutil.rmtree(lab.router.layout.runtime)
    (lab.router.layout.run / "dnsmasq.pid.json").unlink()
    assert attach(lab, name, "n") == lease


def test_it_is_free_when_the_network_is_gone(lab: Lab) -> None:
    lease = attach(lab, "h1", "n")
    destroy(lab, "h1")
    shutil.rmtree(lab.store.data / "networks" / "n")
    assert attach(lab, rival(lab, lease.ip), "m") == lease


def test_of_several_addresses_the_first_network_that_has_one_decides(lab: Lab) -> None:
    blocker = attach(lab, "h1")
    name = rival(lab, blocker.ip)
    in_n = attach(lab, name, "n")
    destroy(lab, name)
    destroy(lab, "h1")
    in_m = attach(lab, name, "m")
    assert in_m != in_n
    destroy(lab, name)
    assert attach(lab, name, "m", "n") == in_m
    assert [
        document_in(Path(lab.store.data, "networks", place, "addresses.json"))[name] for place in ("m", "n")
    ] == [in_m.ip] * 2
