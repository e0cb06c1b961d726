"""Names and labels on Google Cloud, which has narrower rules than Stoneware has.

A name that fits is taken as it is, so that what users see there is what they wrote. Any other is changed and
gets digits of its own. The name that it stands for is kept with the resource.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stoneware.files import sha256_hex
from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL, SERVICE_LABEL, SLOT_LABEL

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LONGEST = 63  # characters of a name, of a label's key, and of its value
_MOST_LABELS = 60  # Google takes 64; the rest is Terraform's and ours
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")

MARK = "stoneware"  # the label of all that is Stoneware's: `machine`, `builder`, `volume`, `network`
FLOOR = "stoneware-floor"  # of a disk: the lowest version that may boot on it

# Our own names have a dot, which no label of Google's has.
_OWN = {
    CLUSTER_LABEL: "stoneware-cluster",
    SERVICE_LABEL: "stoneware-service",
    SLOT_LABEL: "stoneware-slot",
    MACHINE_LABEL: "stoneware-machine",
}
_BACK = {label: name for name, label in _OWN.items()}


def cloud_name(name: str) -> str:
    """Return the name of an instance, disk, address, firewall rule or tag."""
    if _NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    # Room for eight digits of a hash: names that are changed to the same must not become one resource.
    stem = f"{'' if plain[:1].isalpha() else 's-'}{plain}"[: _LONGEST - 9].rstrip("-")
    return f"{stem}-{_digits(name)}"


def secret_id(name: str) -> str:
    """Return the id of a secret of Secret Manager."""
    if _SECRET.fullmatch(name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:200]}-{_digits(name)}"


def _digits(name: str) -> str:
    return sha256_hex(name.encode())[:8]


def cloud_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return those of a machine's labels that Google takes; the others are told to the machine alone.

    Values are spelt with what Google's may have; `read_labels` reads them again.
    """
    found: dict[str, str] = {}
    for name, value in labels.items():
        key, text = _OWN.get(name, name), encoded(value)
        # A label of the user's that is spelt like one of ours would be read back as ours.
        own = name in _OWN
        if len(text) <= _LONGEST and (own or (_KEY.fullmatch(key) and key not in _BACK and key != MARK)):
            found[key] = text
    # Of too many labels the user's are left out, never those that a machine is found by.
    ours = {key: text for key, text in found.items() if key in _BACK}
    others = dict(list(found.items())[:_MOST_LABELS])
    return {**others, **ours}


def read_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that `cloud_labels` was given, as far as Google has them."""
    return {
        _BACK.get(key, key): decoded(text)
        for key, text in labels.items()
        # Terraform's provider adds goog-terraform-provisioned.
        if key not in (MARK, FLOOR) and not key.startswith("goog-")
    }


def encoded(value: str) -> str:
    """Return a text as the value of a label: other characters, and `_`, are `_` and two digits each byte."""
    # With `_` itself among them: otherwise two texts could be the same label.
    return re.sub(rb"[^a-z0-9-]", lambda found: b"_%02x" % found[0][0], value.encode()).decode("ascii")


def decoded(text: str) -> str:
    """Return the text that `encoded` was given."""
    raw = re.sub(rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    return raw.decode(errors="replace")
