"""What firewall rules let in to instances, and when their machines are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from stoneware.emulator import discovery, firewalls, instance_work
from stoneware.emulator.machine_spec import machine_name
from stoneware.emulator.service import Service
from stoneware.emulator.store import Store
from stoneware.errors import HostError
from stoneware.model.ingress import IngressRule
from tests.emulator.computers import Computers
from tests.emulator.conftest import PROJECT, Api
from tests.emulator.test_instances import KEY, MACHINE, ZONE, body, did, instance

ANYWHERE = ("0.0.0.0/0",)
G = {"global": ""}
SSH = IngressRule(True, ANYWHERE, "tcp", ((22, 22),))


@pytest.fixture
def computers() -> Computers:
    return Computers()


@pytest.fixture
def service(document: discovery.Document, store: Store, computers: Computers) -> Iterator[Service]:
    made = Service(document, store, delay=0, open_computers=lambda: computers)
    made.add_project(PROJECT)
    made.add_public_images()
    yield made
    made.jobs.close()


@pytest.fixture
def empty(api: Api) -> None:
    """Take the rules of the network `default`."""
    for rule in api("firewalls.list")["items"]:
        api("firewalls.delete", firewall=rule["name"])


def rule(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"name": name, "network": "global/networks/default", "allowed": [{"IPProtocol": "all"}]} | more


def let_in(service: Service, key: str = KEY) -> tuple[IngressRule, ...]:
    return firewalls.ingress(service.store, key, service.existing(key))


def settled(service: Service) -> None:
    deadline = time.monotonic() + 300
    while not service.jobs.idle():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_instance_begins_with_the_rules_of_its_network(
    api: Api, computers: Computers, service: Service
) -> None:
    did(api, "instances.insert", body())
    rules = computers.machines[MACHINE].ingress
    assert rules == let_in(service)
    assert rules is not None
    assert SSH in rules
    assert IngressRule(True, ("10.128.0.0/9",), "udp", ((0, 65535),)) in rules
    assert IngressRule(True, ANYWHERE, "icmp") in rules
    assert all(rule.allow for rule in rules)


@pytest.mark.usefixtures("empty")
def test_nothing_is_let_in_without_a_rule(api: Api, service: Service) -> None:
    did(api, "instances.insert", body())
    assert let_in(service) == ()


@pytest.mark.usefixtures("empty")
def test_the_rule_with_the_lowest_number_comes_first_and_one_that_denies_before_others(
    api: Api, service: Service
) -> None:
    deny = [{"IPProtocol": "tcp", "ports": ["80", "8000-8080"]}]
    api("firewalls.insert", rule("late", priority=2000))
    api("firewalls.insert", rule("a-allow", sourceRanges=["10.0.0.0/8"]))
    api("firewalls.insert", rule("deny", denied=deny, allowed=[]))
    api("firewalls.insert", rule("early", priority=0, allowed=[{"IPProtocol": "17"}, {"IPProtocol": "47"}]))
    api("firewalls.insert", rule("off", priority=0, disabled=True))
    did(api, "instances.insert", body())
    assert let_in(service) == (
        IngressRule(True, ANYWHERE, "udp"),
        IngressRule(True, ANYWHERE, "47"),
        IngressRule(False, ANYWHERE, "tcp", ((80, 80), (8000, 8080))),
        IngressRule(True, ("10.0.0.0/8",), "all"),
        IngressRule(True, ANYWHERE, "all"),
    )


@pytest.mark.usefixtures("empty")
def test_rules_are_for_targets_by_tag_account_and_address(api: Api, service: Service) -> None:
    account = {"email": "robot@proj-1.iam.gserviceaccount.com", "scopes": []}
    did(api, "instances.insert", body(tags={"items": ["db"]}, serviceAccounts=[account]))
    targets: dict[str, dict[str, Any]] = {
        "tagged": {"targetTags": ["db", "web"]},
        "other-tag": {"targetTags": ["web"]},
        "account": {"targetServiceAccounts": [account["email"]]},
        "other-account": {"targetServiceAccounts": ["x@proj-1.iam.gserviceaccount.com"]},
        "address": {"destinationRanges": ["10.128.0.0/30"]},
        "other-address": {"destinationRanges": ["10.129.0.0/16"]},
    }
    for name, more in targets.items():
        api(
            "firewalls.insert", rule(name, allowed=[{"IPProtocol": "tcp", "ports": [str(len(name))]}], **more)
        )
    ports = {one.ports[0][0] for one in let_in(service)}
    assert ports == {len("tagged"), len("account"), len("address")}


@pytest.mark.usefixtures("empty")
def test_sources_are_ranges_and_the_addresses_of_instances(api: Api, service: Service) -> None:
    account = {"email": "robot@proj-1.iam.gserviceaccount.com", "scopes": []}
    did(api, "instances.insert", body())
    did(api, "instances.insert", body("k2", tags={"items": ["web"]}))
    did(api, "instances.insert", body("k3", serviceAccounts=[account]))
    ranges = ["192.0.2.7", "2001:db8::/32", "10.1.2.3/8"]
    api("firewalls.insert", rule(sourceRanges=ranges, sourceTags=["web"]))
    (found,) = let_in(service)
    assert found.sources == ("10.0.0.0/8", "10.128.0.3/32", "192.0.2.7/32")
    api("firewalls.patch", {"sourceRanges": [], "sourceTags": ["none"]}, firewall="f")
    assert let_in(service)[0].sources == ()
    api("firewalls.delete", firewall="f")
    api("firewalls.insert", rule("g", sourceServiceAccounts=[account["email"]]))
    assert let_in(service)[0].sources == ("10.128.0.4/32",)


@pytest.mark.usefixtures("empty")
def test_running_machines_are_told_of_each_change(api: Api, computers: Computers, service: Service) -> None:
    did(api, "instances.insert", body(tags={"items": ["db"]}))
    did(api, "instances.insert", body("k2"))
    second = machine_name(KEY.replace("k1", "k2"))
    settled(service)
    assert MACHINE not in computers.guards  # it began so
    api("firewalls.insert", rule(sourceTags=["web"], targetTags=["db"]))
    settled(service)
    assert computers.guards[MACHINE] == (IngressRule(True, (), "all"),)
    assert second not in computers.guards
    tags = instance(api, "k2")["tags"]
    did(api, "instances.setTags", tags | {"items": ["web"]}, instance="k2")
    settled(service)
    assert computers.guards[MACHINE][0].sources == ("10.128.0.3/32",)
    did(api, "instances.delete", instance="k2")
    settled(service)
    assert computers.guards[MACHINE][0].sources == ()
    api("firewalls.patch", {"disabled": True}, firewall="f")
    settled(service)
    assert computers.guards[MACHINE] == ()
    api("firewalls.delete", firewall="f")
    api("firewalls.insert", rule("g"))
    settled(service)
    assert computers.guards[MACHINE] == (IngressRule(True, ANYWHERE, "all"),)


def test_a_machine_that_could_not_be_told_is_told_again(
    api: Api, computers: Computers, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    did(api, "instances.insert", body())
    settled(service)

    def fail(_name: str, _rules: object) -> None:
        raise HostError("no nft")

    monkeypatch.setattr(computers, "guard", fail)
    api("firewalls.delete", firewall="default-allow-ssh")
    settled(service)
    monkeypatch.undo()
    instance_work.look(service)
    settled(service)
    assert computers.guards[MACHINE] == let_in(service)
    assert SSH not in computers.guards[MACHINE]


def test_the_next_emulator_tells_all_machines(
    api: Api, computers: Computers, service: Service, document: discovery.Document, store: Store
) -> None:
    did(api, "instances.insert", body())
    settled(service)
    after = Service(document, store, delay=0, open_computers=lambda: computers)
    instance_work.resume(after)
    instance_work.look(after)
    settled(after)
    assert computers.guards[MACHINE] == let_in(service)
    assert instance(api)["zone"].endswith(ZONE)
    after.jobs.close()
