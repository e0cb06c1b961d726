"""What an instance of an emulated cloud reads of itself instead of what a local machine reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stoneware.platforms.local.metadata import state
from stoneware.platforms.local.metadata.tree import Directory, Query, find, render, split

IDENTITY: dict[str, Any] = {
    "project/project-id": "proj-1",
    "project/attributes": {"own-key": "x", "enable-guest-attributes": "TRUE"},
    "instance/zone": "projects/7/zones/us-central1-a",
    "instance/id": 2**62,
    "instance/tags": ["kafka", "web"],
    "instance/disks": [{"device-name": "boot", "index": 0}, {"device-name": "data", "index": 1}],
    "instance/scheduling": {"on-host-maintenance": "MIGRATE"},
    "instance/network-interfaces/0/ip": "10.128.0.2",
    "instance/service-accounts": {
        "default": {
            "aliases": ["default"],
            "email": "a@b.example",
            "scopes": ["s"],
            "token": '{"access_token":"t"}',
        }
    },
}


def facts(identity: dict[str, Any], **attributes: str) -> state.Facts:
    return state.Facts(
        name="k1-123",
        spec={"identity": {path: json.dumps(value) for path, value in identity.items()}},
        attributes=attributes,
        network={"ip": "10.64.0.9", "mac": "42:01:0a:40:00:09"},
        project={"project-id": "stoneware", "attributes": {"enable-guest-attributes": "TRUE"}},
    )


def asked(path: str, query: Query | None = None, **attributes: str) -> str:
    tree: Directory = state.build(facts(IDENTITY, **attributes))
    node = find(tree, split(path))
    assert node is not None, path
    return render(node, query or Query()).body.decode()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("project/project-id", "proj-1"),
        ("project/attributes/own-key", "x"),
        ("instance/zone", "projects/7/zones/us-central1-a"),
        ("instance/id", str(2**62)),
        ("instance/tags", '["kafka","web"]'),
        ("instance/disks/1/device-name", "data"),
        ("instance/network-interfaces/0/ip", "10.128.0.2"),
        ("instance/network-interfaces/0/mac", "42:01:0a:40:00:09"),  # what the identity leaves out is as ever
        ("instance/service-accounts/default/scopes", "s\n"),
        ("instance/service-accounts/default/token", '{"access_token":"t"}'),
        ("instance/attributes/", "role\n"),  # nothing of our own among them
    ],
)
def test_an_identity_takes_the_place_of_what_the_server_says(path: str, text: str) -> None:
    assert asked(path, role="broker") == text


def test_keys_in_json_are_spelt_as_compute_engine_does_and_tokens_left_out() -> None:
    found = json.loads(asked("instance", Query(recursive=True)))
    assert found["disks"][1]["deviceName"] == "data"
    assert found["scheduling"] == {"onHostMaintenance": "MIGRATE"}
    assert found["serviceAccounts"]["default"]["email"] == "a@b.example"
    assert "access_token" not in json.dumps(found)
    assert json.loads(asked("project", Query(recursive=True)))["attributes"]["own-key"] == "x"


@pytest.mark.parametrize(
    ("identity", "attributes", "enabled"),
    [
        ({}, {}, True),
        ({"instance/name": "k1"}, {}, False),  # the store's own project says nothing to an instance
        ({"project/attributes": {"enable-guest-attributes": "TRUE"}}, {}, True),
        (
            {"project/attributes": {"enable-guest-attributes": "TRUE"}},
            {"enable-guest-attributes": "false"},
            False,
        ),
        ({"instance/name": "k1"}, {"enable-guest-attributes": "TRUE"}, True),
    ],
)
def test_guest_attributes_of_an_instance_are_off_unless_it_or_its_project_says_so(
    identity: dict[str, Any], attributes: dict[str, str], enabled: bool
) -> None:
    assert state.guest_attributes_enabled(facts(identity, **attributes)) is enabled
