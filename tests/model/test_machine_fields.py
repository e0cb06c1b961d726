"""The table of a machine's fields: complete, and what is written of a machine is read back as it was."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.compose.keys import KEYS
from stoneware.model.ingress import IngressRule
from stoneware.model.limits import UNLIMITED, Ulimit
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import (
    CHANGED_BY_AMENDING,
    FIELDS,
    IN_CLUSTER,
    PLATFORM_ATTRIBUTES,
    read_spec,
    written,
)
from stoneware.model.reference import reference
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.model.runtime import Process, System

pytestmark = pytest.mark.pure

FULL = MachineSpec(
    "shop-app-1",
    f"image:sha256:{'1' * 64}",
    hostname="app.example",
    metadata={"stoneware-config": "A=1\n"},
    files={"bundle": Path("/b")},
    volumes=(VolumeMount("v", "/v", True), VolumeMount("a", "/a")),
    caches=("apt",),
    ports=(PortMapping("127.0.0.1", 0, 80), PortMapping("0.0.0.0", 53, 53, "udp")),
    networks=("b", "a"),
    names=("app",),
    addresses={"a": "10.5.0.5"},
    secrets=(SecretMount("s", "t", "v1", 0, 3, 4), SecretMount("s", "/u", "v1")),
    memory=1 << 30,
    cpus=1.5,
    pids_limit=UNLIMITED,
    ulimits=(Ulimit("nofile", 1, 2),),
    disk=1 << 30,
    log_max_size=2000,
    log_max_file=2,
    read_only=True,
    vm=True,
    restart="on-failure:3",
    remove_when_stopped=True,
    tied="stop",
    identity={"instance/zone": '"projects/1/zones/z"'},
    ingress=(
        IngressRule(True, ("10.0.0.0/8",), "tcp", ((22, 22), (80, 90))),
        IngressRule(False, ("0.0.0.0/0",)),
    ),
    extras={"machine_type": "e2-small"},
    live_extras={"tags": "a"},
    stop_timeout=3.5,
    image_ref="app:1",
    labels={"l": "1"},
    process=Process(command=("a", "b"), cap_drop=("all",), oom_score_adj=5),
    system=System(sysctls=(("net.x", "1"),), hosts=("a=10.0.0.1",)),
)


def test_each_field_has_an_entry_and_each_entry_a_field() -> None:
    assert {one.name for one in fields(MachineSpec)} == set(FIELDS)
    assert all(getattr(FULL, name) != field.default for name, field in FIELDS.items() if name != "kind")


@pytest.mark.parametrize("spec", [FULL, MachineSpec("m1", "checkpoint:k", kind="builder")])
def test_what_is_written_is_read_back(spec: MachineSpec) -> None:
    plain = {name: field.kind.write(getattr(spec, name)) for name, field in FIELDS.items()}
    assert read_spec(plain) == read_spec(plain, strict=True) == spec
    in_terraform = {field.name: field.kind.to_terraform(getattr(spec, field.name)) for field in IN_CLUSTER}
    builders = {name: getattr(spec, name) for name, field in FIELDS.items() if not field.in_cluster}
    assert replace(read_spec(in_terraform, strict=True), **builders) == spec


def test_what_is_missing_or_null_has_its_default() -> None:
    plain = MachineSpec("m1", "image:x")
    assert read_spec({"name": "m1", "source": "image:x"}) == plain
    assert read_spec({**dict.fromkeys(FIELDS), "name": "m1", "source": "image:x"}) == plain


@pytest.mark.parametrize("name", list(FIELDS))
def test_a_strict_reader_misses_what_every_version_wrote(name: str) -> None:
    plain = {key: field.kind.write(getattr(FULL, key)) for key, field in FIELDS.items()}
    del plain[name]
    if FIELDS[name].always:
        with pytest.raises(KeyError, match=name):
            read_spec(plain, strict=True)
    else:
        assert getattr(read_spec(plain, strict=True), name) == FIELDS[name].default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hostname", 5),
        ("hostname", ["a"]),
        ("memory", "much"),
        ("memory", []),
        ("networks", "front"),
        ("networks", [1]),
        ("labels", ["a"]),
        ("volumes", {"volume": "v"}),
        ("volumes", [{"volume": "v"}]),
        ("volumes", [{"volume": "v", "path": "/v", "size": 1}]),
        ("ports", [{"host_port": 1}]),
        ("secrets", [{"secret": "s", "target": "t", "version": "v", "mode": "rw"}]),
        ("ulimits", [{"name": "nofile"}]),
    ],
)
def test_a_value_that_is_none_of_its_field_is_refused(name: str, value: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_spec({"name": "m1", "source": "image:x", name: value})


def test_what_a_configuration_leaves_out_is_filled_in() -> None:
    port = {"machine_port": 80, "host_port": None, "host_ip": None, "protocol": None}
    secret = {"secret": "s", "target": "t", "version": "v", "mode": None, "uid": None, "gid": None}
    given = read_spec(
        {
            "name": "m1",
            "source": "image:x",
            "ports": [port],
            "secrets": [secret],
            "ulimits": [{"name": "core", "soft": 1, "hard": None}],
            "pids_limit": 0,
        }
    )
    assert given.ports == (PortMapping("0.0.0.0", 0, 80),)
    assert given.secrets == (SecretMount("s", "t", "v"),)
    assert given.ulimits == (Ulimit("core", 1, 1),)
    assert given.pids_limit == UNLIMITED


def test_only_what_changes_in_place_is_amended() -> None:
    assert set(CHANGED_BY_AMENDING) == {
        *("identity", "image_ref", "ingress", "labels", "live_extras", "secrets", "stop_timeout")
    }
    assert written({"stop_timeout": 5.0, "labels": {"a": "b"}}) == {"stop_timeout": 5.0, "labels": {"a": "b"}}
    with pytest.raises(ValueError, match="memory"):
        written({"memory": 1})


def test_the_attributes_that_the_platform_writes_itself() -> None:
    kinds = ("volumes", "secrets", "process", "system")
    assert {f"stoneware-{kind}" for kind in kinds} == PLATFORM_ATTRIBUTES


def test_values_are_shown_in_words() -> None:
    shown = {name: field.show(FULL) for name, field in FIELDS.items()}
    assert shown["memory"] == f"{1 << 30} bytes"
    assert shown["pids_limit"] == "no limit"
    assert shown["stop_timeout"] == "3.5s"
    assert shown["read_only"] == "yes"
    assert shown["volumes"] == {"/v": "v read-only", "/a": "a"}
    assert shown["ports"] == {"127.0.0.1:*->80/tcp": "", "53->53/udp": ""}
    said = {"0": "allow tcp 22,80-90 from 10.0.0.0/8", "1": "deny all from 0.0.0.0/0"}
    assert shown["ingress"] == said
    assert FIELDS["ingress"].show(MachineSpec("m1", "image:x")) == "whatever its networks let through"
    assert FIELDS["hostname"].show(MachineSpec("m1", "image:x")) == "m1"
    assert FIELDS["memory"].show(MachineSpec("m1", "image:x")) == "no limit"


PAGE = Path(__file__).parents[2] / "docs" / "machine.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference(), "run make docs"


def test_the_keys_are_those_of_a_service() -> None:
    services = KEYS["services.*"]
    named = [key for field in FIELDS.values() for key in field.keys]
    named = [key for key in named if not key.startswith("x-")]
    assert [key for key in named if key not in services or services[key].outcome != "acts"] == []


def test_the_options_are_those_of_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    section = page[page.index("## stoneware run\n") :].partition("\n## ")[0]
    known = {"IMAGE", *re.findall(r"--[a-z-]+", section)}
    assert [word for field in FIELDS.values() for word in field.options if word not in known] == []
