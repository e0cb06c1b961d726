"""Every key of the Compose format, and what becomes of it: it acts, is warned about, or is refused.

The keys that act are the fields of `schema`. This is the one table: the loader asks it, and the page of the
reference is made from it (`stoneware.compose.reference`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoneware.compose.key_rules import FALSE, Key, Outcome, acts, refused, warned
from stoneware.compose.service_keys import SERVICE_KEYS

_EXTERNAL = "Use file or environment: its value comes from here, not from a swarm."
_UNLABELLED = "It has no effect: Stoneware keeps no labels of these."
_NETWORK = {
    "attachable": acts("nothing to do: any machine may be on it"),
    "driver": acts("bridge, overlay or default: nothing to do; others are refused"),
    "driver_opts": warned("It has no effect: networks are the platform's."),
    "enable_ipv4": warned("It has no effect: machines have IPv4.", "true", "yes", ""),
    "enable_ipv6": warned("It has no effect: machines have IPv4 only.", *FALSE),
    "external": acts("created elsewhere"),
    "internal": acts("no way out of it, and no published port leads into it"),
    "ipam": acts("config with subnets: the ranges that its machines have their addresses of"),
    "labels": acts("labels of the network"),
    "name": acts("its name"),
}
_SOURCE = {
    "driver": refused("Use file or environment."),
    "driver_opts": refused("Use file or environment."),
    "environment": acts("a variable of your own"),
    "external": refused(_EXTERNAL, *FALSE),
    "file": acts("a file"),
    "labels": warned(_UNLABELLED),
    "name": warned("It has no effect: the name is CLUSTER-KEY."),
    "template_driver": refused(
        "Put the file below /etc/stoneware/templates in the image: the machine renders the file at boot."
    ),
}
OWN = ("x-stoneware", "x-google", "x-local")  # the extensions that mean something here
# By path, `*` for any key or index.
KEYS: Mapping[str, Mapping[str, Key]] = {
    "": {
        "configs": acts("files of text for machines"),
        "include": acts("other files, with their own directory and variables"),
        "models": SERVICE_KEYS["services.*"]["models"],
        "name": acts("the cluster's name"),
        "networks": acts("see networks"),
        "secrets": acts("see secrets"),
        "services": acts("see services"),
        "version": warned("This key is obsolete, as in Compose: leave it out."),
        "volumes": acts("see volumes"),
    },
    **SERVICE_KEYS,
    "networks.*": _NETWORK,
    "networks.*.ipam": {
        "config": acts("subnets; two for machines that are to be in different ranges"),
        "driver": warned("It has no effect: addresses are the platform's.", "default", ""),
        "options": warned("It has no effect: addresses are the platform's."),
    },
    "networks.*.ipam.config.*": {
        "aux_addresses": warned("It has no effect: a machine that is to have an address says ipv4_address."),
        "gateway": acts("the first address of the subnet; others are refused"),
        "ip_range": warned("It has no effect: addresses are chosen from the whole subnet."),
        "subnet": acts("private, /29 at the smallest; one of IPv6 is warned about"),
    },
    "volumes.*": {
        "driver": acts("local: nothing to do; others are refused"),
        "driver_opts": refused(
            "Leave it out: a volume is a disk of the machine's own. COPY and configs bring files of this "
            "computer; a share of the network is mounted by a unit of the image."
        ),
        "external": acts("created elsewhere"),
        "labels": acts("labels of the disks"),
        "name": acts("the disk's exact name"),
    },
    "secrets.*": _SOURCE,
    "configs.*": {**_SOURCE, "content": acts("the text itself")},
}


def rule_of(path: tuple[str, ...], key: str) -> Key | None:
    """Return what becomes of a key of the Compose format; None for no such key.

    `path` is that of the mapping which holds the key, from the file's top.
    """
    for pattern, keys in KEYS.items():
        if matches(pattern.split(".") if pattern else (), path):
            return keys.get(key)
    return None


def matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Say whether a path has the steps of a pattern, in which `*` is any step."""
    return len(pattern) == len(path) and all(a in ("*", b) for a, b in zip(pattern, path, strict=True))


def below_which(path: tuple[str, ...], key: str) -> str:
    """Return the key of a mapping that has to be the parent of a key written next to it; else nothing."""
    for pattern, keys in KEYS.items():
        *above, last = pattern.split(".")
        if len(above) >= 2 and last != "*" and key in keys and matches(above, path):
            return last
    return ""


def alternative(path: tuple[str, ...], key: str) -> str | None:
    """Return what to write instead of a key that is refused; None for no such key."""
    rule = rule_of(path, key)
    return rule.why if rule and rule.outcome is Outcome.REFUSED else None
