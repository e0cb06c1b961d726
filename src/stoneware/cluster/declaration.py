"""What was declared for a machine: all of its spec, in one form that two machines can be compared by.

This is what a release is. `differences`, and so plans, status, drift and rollouts, compares it field by
field; a rollout's engine compares its digest. A field that `MachineSpec` gets is in both from then on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from stoneware.cluster.model import DesiredMachine, Release
from stoneware.config import digest
from stoneware.config.sizes import word_problem
from stoneware.files import sha256_hex
from stoneware.model.guest_protocol import CONFIG, GUEST_ATTRIBUTES, HEALTH_CHECK, OURS
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import FIELDS, own_metadata

_CALLED = {f"metadata.{HEALTH_CHECK}": "the test of the health check"}
_OURS = (OURS, GUEST_ATTRIBUTES)  # how the attributes begin that a cluster declares


def declaration(spec: MachineSpec) -> dict[str, Any]:
    """Return every field of a spec that was declared, as plain data; those with their defaults are left out.

    So a field that a later version adds changes nothing of machines that do not use it.
    """
    values = {}
    for name, field in FIELDS.items():
        if field.declared and (value := getattr(spec, name)) != field.default:
            plain = plain_of(value)
            values[name] = sorted(plain, key=_text) if field.kind.unordered else plain
    values["hostname"] = FIELDS["hostname"].of(spec)
    # Attributes of other names are the platform's or a user's, and no part of a release.
    values["metadata"] = {key: text for key, text in own_metadata(spec).items() if key.startswith(_OURS)}
    return values


def plain_of(value: Any) -> Any:
    """Return a value as JSON has it; a number is the same whether it was read as 2 or as 2.0."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_of(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_of(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def oversized(spec: MachineSpec) -> Iterator[str]:
    """Yield what is declared and too large for a machine, as sentences; its config has a check of its own."""
    declared = {name: value for name, value in declaration(spec).items() if name != "labels"}
    declared["metadata"] = {key: text for key, text in declared["metadata"].items() if key != CONFIG}
    for what, text in _texts("", declared):
        if problem := word_problem(_CALLED.get(what, what), text):
            yield problem


def _texts(what: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every text in plain data, with the names that lead to it."""
    if isinstance(value, str):
        yield what, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(f"{what}.{key}" if what else str(key), item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(what, item)


def declared_digest(spec: MachineSpec) -> str:
    """Return what tells one declaration from another."""
    return f"sha256:{sha256_hex(_text(declaration(spec)).encode())}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in ASCII, for a text may hold bytes that are no characters


def release_of_spec(spec: MachineSpec) -> Release:
    """Return the release that a machine with this spec is to run."""
    config = digest(spec.metadata.get(CONFIG, ""))
    return Release(spec.source.removeprefix("image:"), config, declared_digest(spec))


def release_of_machine(wanted: DesiredMachine) -> Release:
    """Return the release that a machine of the file is to run."""
    return Release(wanted.image_id, wanted.config_digest, declared_digest(wanted.spec))
