"""How references and labels are compared, and what a plan makes of a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from stoneware.provider.values import Unknown
from tests.google.provider.client import Client
from tests.google.provider.instance import Instance
from tests.google.provider.kinds import Image, Link, Name, Place, Scopes
from tests.google.provider.planning import plan_labels, read_labels
from tests.google.provider.settings import Settings, SettingsError, seconds, settings

LINK = "https://www.googleapis.com/compute/v1/projects/p/global/images/kafka-4-2-abc"
PLACE = Place("p", "r", "r-a")


@pytest.mark.parametrize(
    ("wanted", "same"),
    [
        (LINK, True),
        ("http://127.0.0.1:1/compute/v1/projects/p/global/images/kafka-4-2-abc", True),
        ("projects/p/global/images/kafka-4-2-abc", True),
        ("projects/q/global/images/kafka-4-2-abc", False),
        ("global/images/kafka-4-2-abc", True),
        ("global/images/kafka-4-2", False),
        ("kafka-4-2-abc", True),
        ("projects/p/global/images/family/kafka", True),
        ("projects/p/global/images/family/postgres", False),
        ("global/images/family/kafka", True),
        ("family/kafka", True),
        ("kafka", True),
        ("p/kafka", True),
        ("q/kafka", False),
        (Unknown, False),
    ],
)
def test_an_image_is_compared_without_asking(wanted: Any, same: bool) -> None:
    assert Image().same(LINK, wanted) is same


def test_a_disk_without_an_image_of_googles_is_another() -> None:
    assert not Image().same(None, LINK)
    assert not Image().same(LINK.replace("www.googleapis.com", "127.0.0.1"), LINK)


def test_references_are_written_with_their_project() -> None:
    disk = Link("disks", "zones")
    whole = "projects/p/zones/r-a/disks/d"
    given = ("d", "zones/r-a/disks/d", whole, f"https://www.googleapis.com/compute/v1/{whole}")
    assert {disk.write(each, PLACE) for each in given} == {whole}
    assert all(disk.same(given[3], each) for each in given)
    assert not disk.same(given[3], "dd")
    assert Name("diskTypes", "zones").write("pd-ssd", PLACE) == "projects/p/zones/r-a/diskTypes/pd-ssd"


def test_scopes_have_short_names() -> None:
    whole = "https://www.googleapis.com/auth/devstorage.read_only"
    assert Scopes().planned(["storage-ro", whole]) == [whole, whole]
    assert Scopes().same([whole, "b"], ["b", "storage-ro"])


def test_labels_of_others_stay() -> None:
    have = {"labels": {"a": "1"}, "terraform_labels": {"a": "1"}, "effective_labels": {"a": "1", "x": "2"}}
    planned: dict[str, Any] = dict.fromkeys(have) | {"labels": {"b": "3"}}
    plan_labels(planned, have, {"d": "4"}, attributed=True)
    assert planned["terraform_labels"] == {"d": "4", "b": "3"}
    assert planned["effective_labels"] == {"x": "2", "d": "4", "b": "3"}
    read_labels(planned, {"x": "2", "b": "5"}, planned)
    assert (planned["labels"], planned["effective_labels"]) == ({"b": "5"}, {"x": "2", "b": "5"})
    fresh: dict[str, Any] = dict.fromkeys(have)
    plan_labels(fresh, None, {}, attributed=True)
    assert fresh["effective_labels"] == {"goog-terraform-provisioned": "true"}
    fresh["labels"] = {"c": Unknown}
    plan_labels(fresh, None, {}, attributed=True)
    assert fresh["effective_labels"] is Unknown


def instance() -> Instance:
    import threading

    made = Settings(project="p", region="r", zone="r-a", access_token="t")
    return Instance(Client(made, threading.Event()))


def test_a_plan_has_defaults_and_what_is_not_known_yet() -> None:
    resource = instance()
    config = resource.schema.block.whole(
        {
            "name": "n",
            "machine_type": "e2-small",
            "metadata": {"a": Unknown},
            "boot_disk": [{"initialize_params": [{"image": "i"}]}],
            "network_interface": [{"network": "default", "access_config": [{}]}],
            "service_account": [{"scopes": ["cloud-platform"]}],
        }
    )
    planned, replaced = resource.plan(None, config)
    assert not replaced
    assert (planned["project"], planned["zone"], planned["id"]) == ("p", "r-a", Unknown)
    assert planned["metadata"] == {"a": Unknown}
    assert planned["can_ip_forward"] is False
    assert planned["scheduling"] is Unknown
    assert planned["attached_disk"] == []
    boot = planned["boot_disk"][0]
    assert (boot["auto_delete"], boot["mode"], boot["source"]) == (True, "READ_WRITE", Unknown)
    assert boot["initialize_params"][0] == {"image": "i", "labels": Unknown, "size": Unknown, "type": Unknown}
    assert planned["network_interface"][0]["access_config"][0]["nat_ip"] is Unknown


def test_settings_come_from_the_block_and_then_from_the_environment() -> None:
    variables = {
        "GOOGLE_PROJECT": "env",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "t",
        "GOOGLE_COMPUTE_CUSTOM_ENDPOINT": "http://h/v1/",
    }
    made = settings({"project": "block", "zone": None, "poll_interval": "200ms"}, variables)
    assert (made.project, made.zone, made.poll_interval) == ("block", "", 0.2)
    assert made.endpoint("compute") == "http://h/v1/"
    with pytest.raises(SettingsError, match="storage_custom_endpoint is not set"):
        made.endpoint("storage")
    with pytest.raises(SettingsError, match="no access_token"):
        settings({}, {})
    with pytest.raises(SettingsError, match="slash"):
        settings({"compute_custom_endpoint": "http://h"}, variables)


@pytest.mark.parametrize(("text", "number"), [("20m", 1200), ("1h30m", 5400), ("200ms", 0.2), ("1.5s", 1.5)])
def test_durations(text: str, number: float) -> None:
    assert seconds(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "5d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(SettingsError, match="invalid duration"):
        seconds(text)
