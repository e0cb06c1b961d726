"""What stands behind each collection that is served, for the tables of methods."""

from __future__ import annotations

from collections.abc import Mapping

_CATALOG = "a part of Google's"
_OPERATIONS = "a change is done at once, its operation a moment later, or when the machine has followed"
_ACCEPTED = "any credential is accepted; tokens are random, expire and say whose they are"

# By the name of the API and of the collection; tests see to it that none is missing.
BEHIND: Mapping[str, Mapping[str, str]] = {
    "compute": {
        "addresses": "records; internal ones are an instance's own, external ones reach nothing",
        "diskTypes": _CATALOG,
        "disks": "what images have, else directories, and disks with `--vm`; no type is faster than another",
        "firewalls": "act on machines, at once; INGRESS only",
        "globalOperations": _OPERATIONS,
        "imageFamilyViews": "as families of images, the same in each zone",
        "images": "what is on a disk, a snapshot, or in an archive; of `debian-cloud` this computer's bases",
        "instances": "machines of this computer, with a metadata server each; one interface",
        "machineTypes": f"{_CATALOG}; memory and processors are limited, up to what there is",
        "networks": "networks of this computer; MTU and routing are kept and act on nothing",
        "projects": "kept; common metadata is served to instances",
        "regionOperations": _OPERATIONS,
        "regions": f"{_CATALOG}, without quotas",
        "snapshots": "what is on a disk that instances boot from; of a data disk no contents",
        "subnetworks": "ranges that instances have their addresses in",
        "zoneOperations": _OPERATIONS,
        "zones": _CATALOG,
    },
    "storage": {
        "buckets": "kept; policies, rules and retention act on nothing",
        "managedFolders": "there are none",
        "objects": "files with generations, preconditions, sessions and checksums",
    },
    "secretmanager": {
        "locations": _CATALOG,
        "secrets": "kept; policies, rotation and topics act on nothing",
        "versions": "values, not encrypted; instances read them by their own tokens",
    },
    "dns": {
        "changes": "whole or not at all",
        "managedZones": "instances resolve them; DNSSEC, forwarding and peering are refused",
        "resourceRecordSets": "A, AAAA and CNAME are resolved; others are kept",
    },
    "oauth": {"tokens": _ACCEPTED},
    "oauth2": {"me": _ACCEPTED, "oauth2": _ACCEPTED, "userinfo": _ACCEPTED},
    "sts": {"sts": _ACCEPTED},
    "iamcredentials": {"serviceAccounts": f"{_ACCEPTED}; nothing is signed"},
}
