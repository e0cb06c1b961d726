"""The resource types that are records: what makes one, what holds one, what of one can be changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.emulator import instance_fill, prepare
from stoneware.emulator.store import Record

Prepare = Callable[[prepare.Place, Record, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Kind:
    """A resource type.

    `holds`: collections and fields of others that keep one from being deleted; with `fails_late` the
    operation of the delete says so, not the reply. `patchable`: the fields that `patch` changes; `checked` is
    what then holds the whole against the rules.
    """

    singular: str
    prepare: Prepare
    holds: tuple[tuple[str, str], ...] = ()
    fails_late: bool = False
    patchable: frozenset[str] = frozenset()
    checked: Prepare | None = None


_RULE = {
    *(
        "allowed",
        "denied",
        "description",
        "destinationRanges",
        "direction",
        "disabled",
        "logConfig",
        "network",
    ),
    *(
        "priority",
        "sourceRanges",
        "sourceServiceAccounts",
        "sourceTags",
        "targetServiceAccounts",
        "targetTags",
    ),
}
_NETWORK = {"description", "mtu", "networkFirewallPolicyEnforcementOrder", "routingConfig"}
_SUBNETWORK = {"description", "logConfig", "privateIpGoogleAccess", "secondaryIpRanges"}

KINDS = {
    "addresses": Kind("address", prepare.address),
    "disks": Kind("disk", prepare.disk),
    "firewalls": Kind("firewall", prepare.firewall, patchable=frozenset(_RULE), checked=prepare.firewall),
    "images": Kind("image", prepare.image, patchable=frozenset({"deprecated", "description", "family"})),
    "instances": Kind("instance", instance_fill.instance),
    "networks": Kind(
        "network",
        prepare.network,
        holds=(("subnetworks", "network"), ("firewalls", "network"), ("instances", "x-network")),
        # As Google's: who deletes a network is told by the operation, all others by the reply.
        fails_late=True,
        patchable=frozenset(_NETWORK),
    ),
    "snapshots": Kind("snapshot", prepare.snapshot),
    "subnetworks": Kind(
        "subnetwork",
        prepare.subnetwork,
        holds=(("addresses", "subnetwork"), ("instances", "x-subnetwork")),
        patchable=frozenset(_SUBNETWORK),
    ),
}
