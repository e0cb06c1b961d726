"""What each resource is tried with: a configuration, changes of it, and how it vanishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.platforms.memory import MemoryPlatform

from .conftest import IMAGE
from .core import Core, State
from .memory_images import MemoryImages


@dataclass(frozen=True)
class Case:
    """A resource: a configuration of it, changes in place, changes that replace it, how to remove it."""

    given: Mapping[str, Any]
    in_place: Mapping[str, Any]
    replacing: Mapping[str, Any]
    vanish: Callable[[MemoryPlatform, MemoryImages, State], None]
    importable: bool = True
    forgotten: Mapping[str, Any] = field(default_factory=dict)  # what an import cannot know


SECRETS = [{"secret": "c-token", "target": "token", "version": "v1"}]


CASES = {
    "stoneware_network": Case(
        {"name": "n1", "labels": {"a": "b"}, "internal": True, "subnets": ["10.5.0.0/24"]},
        {"labels": {"a": "c", "d": "e"}, "internal": None, "subnets": ["10.6.0.0/24", "10.5.0.0/24"]},
        {"name": "n2"},
        lambda platform, _images, state: platform.destroy_network(state["name"]),
    ),
    "stoneware_volume": Case(
        {"name": "v1", "labels": {"a": "b"}, "size": 1 << 30},
        {"labels": None, "size": 1 << 31},
        {"name": "v2"},
        lambda platform, _images, state: platform.destroy_volume(state["name"]),
    ),
    "stoneware_machine": Case(
        {
            "name": "m1",
            "source": IMAGE,
            "hostname": "m1.c.internal",
            "networks": ["front"],
            "names": ["m"],
            "metadata": {"k": "v"},
            "secrets": SECRETS,
            "labels": {"a": "b"},
            "image_ref": "web:1",
            "volumes": [{"volume": "v1", "path": "/data"}],
            "ports": [{"machine_port": 80}, {"machine_port": 53, "host_port": 5353, "protocol": "udp"}],
            "memory": 1 << 29,
            "pids_limit": 500,
            "ulimits": [{"name": "nofile", "soft": 1024, "hard": 4096}, {"name": "nproc", "soft": 99}],
            "disk": 1 << 30,
            "process": {
                "command": ["serve", "--all"],
                "user": "web",
                "cap_drop": ["all"],
                "cap_add": ["chown"],
            },
            "system": {"sysctls": {"net.core.somaxconn": "512"}, "hosts": ["db=10.0.0.1"]},
            "log_max_size": 1 << 20,
            "log_max_file": 2,
            "cpus": "0.1",
            "restart": "always",
            "stop_timeout": "2.5",
            "recreate_on": "one",
            "timeouts": {"create": "1m"},
        },
        {
            "metadata": {"k": "w", "l": "x"},
            "secrets": [{**SECRETS[0], "version": "v2", "mode": "0440"}],
            "labels": None,
            "live_extras": {"tags": "web"},
            "image_ref": None,
            "stop_timeout": None,
            "running": False,
            "wait_for": "running",
            "timeouts": None,
        },
        {
            "name": "m2",
            "source": IMAGE.replace("ab", "cd"),
            "kind": "builder",
            "hostname": None,
            "networks": ["back"],
            "names": [],
            "addresses": {"back": "10.5.0.5"},
            "extras": {"machine_type": "e2-small"},
            "files": {"f": "/tmp/f"},
            "volumes": [{"volume": "v1", "path": "/data", "read_only": True}],
            "ports": [{"machine_port": 80}],
            "caches": ["apt"],
            "memory": None,
            "pids_limit": None,
            "ulimits": [{"name": "nofile", "soft": 1024}],
            "disk": None,
            "process": None,
            "system": {"tmpfs": {"/scratch": "size=1m"}, "dns_search": ["example.com"]},
            "log_max_size": None,
            "log_max_file": None,
            "cpus": "0.2",
            "read_only": True,
            "vm": True,
            "restart": None,
            "recreate_on": "two",
        },
        lambda platform, _images, state: platform.destroy(state["name"]),
        forgotten={"recreate_on": "one", "timeouts": None},
    ),
    "stoneware_image": Case(
        {"name": "web", "context": "CONTEXT", "labels": {"a": "b"}},
        {"labels": None, "extra_tags": ["web:1"], "triggers": {"n": "1"}, "name": "site"},
        {},
        lambda _platform, images, state: images.remove_image(state["image_id"]),
        importable=False,
    ),
}


TYPES = sorted(CASES)

OLD = {
    "caches": ["apt"],
    "cpus": 0.1,
    "files": {"bundle.tar": "/tmp/bundle.tar"},
    "health": "none",
    "hostname": "",
    "id": "m00000001",
    "image_id": "",
    "image_ref": "",
    "ip": "10.0.0.2",
    "kind": "builder",
    "labels": None,
    "memory": None,
    "metadata": {"startup-script": "#!/bin/sh\n"},
    "name": "b1",
    "phase": "running",
    "ports": None,
    "read_only": False,
    "restart": "no",
    "source": "checkpoint:abc",
    "stop_timeout": 10,
    "volumes": [],
}


def settled(core: Core, type_name: str, state: State | None, given: Mapping[str, Any]) -> State:
    """Check that a refresh finds what is in the state, and that a second plan has nothing to do."""
    assert state is not None
    assert core.read(type_name, state) == state
    again = core.plan(type_name, state, given)
    assert (again.state, again.replace) == (state, ())
    return state
