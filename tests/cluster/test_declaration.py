"""What a release is: every field that was declared, those that later versions add among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.declaration import declaration, declared_digest, release_of_machine, release_of_spec
from stoneware.cluster.differences import differences
from stoneware.dataclass import dataclass
from stoneware.model import field_kinds
from stoneware.model.limits import Ulimit
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import FIELDS, Field
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.model.runtime import Process, System
from tests.cluster.support import machine_of, wanted_of

pytestmark = pytest.mark.pure
# Another value for each field whose type does not say how to make one.
_OTHERS: dict[str, Any] = {
    "source": f"image:sha256:{'9' * 64}",
    "metadata": {"stoneware-config": "A=b\n", "stoneware-mode": "run", "stoneware-cluster": "shop"},
    "volumes": (VolumeMount("other", "/other"),),
    "secrets": (SecretMount("other", "other", "v9"),),
    "ulimits": (Ulimit("nofile", 1, 2),),
    "ports": (PortMapping("0.0.0.0", 9999, 9),),
    "files": {"x": Path("/x")},
    "process": Process(command=("other",)),
    "system": System(hosts=("other=10.0.0.1",)),
}
_NO_RELEASE = {"files", "identity", "image_ref", "ingress"}  # those that nobody declares


def _other(name: str, value: Any) -> Any:
    if name in _OTHERS:
        return _OTHERS[name]
    match value:
        case bool():
            other: Any = not value
        case int() | float():
            other = value + 64
        case str():
            other = f"{value}-other"
        case tuple():
            other = (*value, "other")
        case Mapping():
            other = {**value, "other": "x"}
        case _:
            other = 1 << 30 if FIELDS[name].kind.type.base == "number" else "other"
    return other


@pytest.mark.parametrize("name", [one.name for one in fields(MachineSpec)])
def test_every_field_is_part_of_a_release(name: str) -> None:
    wanted = wanted_of().machines["app-1"]
    machine = machine_of(wanted)
    changed = replace(machine.spec, **{name: _other(name, getattr(machine.spec, name))})
    found = differences(wanted, replace(machine, spec=changed, image_id=changed.source.partition(":")[2]))
    assert bool(found) == (name not in _NO_RELEASE)
    assert (release_of_spec(changed) != release_of_machine(wanted)) == bool(found)
    assert all(item.reason for item in found)


@dataclass(frozen=True)
class Later(MachineSpec):
    """A spec with fields that this version does not know."""

    command: tuple[str, ...] | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)


def test_fields_to_come_are_compared_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = wanted_of().machines["app-1"]
    known = {one.name: getattr(wanted.spec, one.name) for one in fields(MachineSpec)}
    before = declared_digest(wanted.spec)
    words = Field(
        replace(field_kinds.NAMES, unordered=False, show=repr), "Its words.", name="command", default=None
    )
    monkeypatch.setitem(FIELDS, "command", words)
    monkeypatch.setitem(
        FIELDS, "sysctls", Field(field_kinds.TEXT_MAP, "Of its kernel.", name="sysctls", default={})
    )
    plain = replace(wanted, spec=Later(**known))
    assert declared_digest(plain.spec) == before, "what nobody uses changes no release"
    for more in ({"command": ("a", "b")}, {"command": ()}, {"sysctls": {"net.core.somaxconn": "9"}}):
        later = replace(wanted, spec=Later(**known, **more))
        [item] = differences(later, machine_of(plain))
        assert item.what.partition(" ")[0] == next(iter(more))
        assert release_of_machine(later) != release_of_machine(plain)
    turned = [replace(wanted, spec=Later(**known, command=words)) for words in (("a", "b"), ("b", "a"))]
    assert differences(turned[0], machine_of(turned[1]))


def test_what_means_the_same_is_the_same() -> None:
    spec = wanted_of({"services": {"app": {"cpus": 2, "ports": ["80", "81"]}}}).machines["app-1"].spec
    same = replace(
        spec,
        hostname=spec.hostname or spec.name,
        cpus=2.0,
        ports=tuple(reversed(spec.ports)),
        image_ref="as others call it",
        metadata={**spec.metadata, "stoneware-volumes": "x", "stoneware-inspect": "y", "mine": "1"},
    )
    assert declared_digest(same) == declared_digest(spec)
    assert declared_digest(replace(spec, hostname="")) == declared_digest(replace(spec, hostname=spec.name))
    assert declared_digest(replace(spec, metadata={"stoneware-config": "A=\udcff\n"}))


def test_attributes_that_clusters_declare_are_told_from_those_of_others() -> None:
    changes = {"services": {"app": {"healthcheck": {"interval": 2}}}}
    for machine in wanted_of(changes).machines.values():
        assert declaration(machine.spec)["metadata"] == machine.spec.metadata


@pytest.mark.parametrize("side", ["wanted", "found"])
def test_an_attribute_that_is_declared_no_more_is_a_difference(side: str) -> None:
    wanted = wanted_of().machines["web-1"]
    more = replace(wanted, spec=replace(wanted.spec, metadata={**wanted.spec.metadata, "stoneware-x": "1"}))
    one, other = (more, wanted) if side == "wanted" else (wanted, more)
    [item] = differences(one, machine_of(other))
    assert item.what == "stoneware-x"
