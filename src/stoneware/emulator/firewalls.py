"""Firewall rules as rules on what comes in to instances, and telling their machines of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from stoneware.emulator.jobs import Job
from stoneware.emulator.machine_spec import machine_name
from stoneware.emulator.service import Service
from stoneware.emulator.store import Record, Store
from stoneware.errors import StonewareError
from stoneware.model.ingress import PROTOCOLS, Ingress, IngressRule


def ingress(store: Store, key: str, instance: Record) -> Ingress:
    """Return what the firewall rules of its network let in to an instance.

    The rule with the lowest number decides, of several with one that denies. What none is about is dropped.
    """
    project = key.split("/")[1]
    rules = [
        rule for _, rule in store.under(f"projects/{project}/global/firewalls") if _concerns(rule, instance)
    ]
    rules.sort(key=lambda rule: (rule["priority"], not rule.get("denied"), rule["name"]))
    return tuple(one for rule in rules for one in _rules(store, project, rule))


def _concerns(rule: Record, instance: Record) -> bool:
    if rule["network"] != instance["x-network"] or rule["direction"] != "INGRESS" or rule["disabled"]:
        return False
    address = ipaddress.IPv4Address(instance["networkInterfaces"][0]["networkIP"])
    places = _ranges(rule.get("destinationRanges", []))
    # Of IPv6 alone, it is about no instance: these have IPv4.
    if rule.get("destinationRanges") and not any(address in ipaddress.IPv4Network(one) for one in places):
        return False
    if not rule.get("targetTags") and not rule.get("targetServiceAccounts"):
        return True
    return _is_one_of(instance, rule.get("targetTags", []), rule.get("targetServiceAccounts", []))


def _is_one_of(instance: Record, tags: Iterable[str], accounts: Iterable[str]) -> bool:
    emails = {account["email"] for account in instance.get("serviceAccounts", [])}
    return not emails.isdisjoint(accounts) or not set(instance["tags"].get("items", [])).isdisjoint(tags)


def _ranges(texts: Iterable[str]) -> list[str]:
    """Return the ranges of IPv4 among others."""
    found = (ipaddress.ip_network(text, strict=False) for text in texts)
    return [str(one) for one in found if one.version == 4]


def _rules(store: Store, project: str, rule: Record) -> list[IngressRule]:
    sources = _ranges(rule.get("sourceRanges", []))
    tags, accounts = rule.get("sourceTags", []), rule.get("sourceServiceAccounts", [])
    if tags or accounts:
        for _, other in store.everywhere(project, "instances"):
            if other["x-network"] == rule["network"] and _is_one_of(other, tags, accounts):
                sources.append(f"{other['networkInterfaces'][0]['networkIP']}/32")
    return [_rule(rule, tuple(sorted(sources)), what) for what in rule.get("denied") or rule["allowed"]]


def _rule(rule: Record, sources: tuple[str, ...], what: Record) -> IngressRule:
    protocol = what["IPProtocol"].lower()
    names = {str(number): name for name, number in PROTOCOLS.items()}
    pairs = (text.partition("-") for text in what.get("ports", []))
    ports = tuple((int(low), int(high or low)) for low, _, high in pairs)
    return IngressRule(not rule.get("denied"), sources, names.get(protocol, protocol), ports)


def tell(service: Service, network: str) -> None:
    """Have the machines of a network's instances let in what its rules say now. `network`: its link.

    To be called in the transaction that changes rules, tags or instances.
    """
    service.begin(Job(f"firewalls of {network}", lambda: _guard(service, network), lambda _failure: None))


def _guard(service: Service, network: str) -> None:
    computers = service.opened
    if computers is None:
        return
    for key, instance in service.store.matching("projects/", "instances"):
        # Others get their rules when they boot.
        if instance["x-network"] != network or instance["status"] != "RUNNING":
            continue
        rules = ingress(service.store, key, instance)
        if service.guarded.get(key) == rules:
            continue
        try:
            computers.guard(machine_name(key), rules)
        except (StonewareError, OSError):  # told again at the next look, if it still runs
            service.guarded.pop(key, None)
        else:
            service.guarded[key] = rules
