"""What the cluster module is told of an instance."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoneware.errors import InputError
from stoneware.model.resources import SecretMount
from stoneware.platforms.google import parts
from stoneware.platforms.google.instance import SPEC, instance_of
from stoneware.platforms.google.placing import Inventory, There
from stoneware.platforms.infrastructure import Kind, Subject
from tests.google.clusters import SETTINGS, declared, spec

pytestmark = pytest.mark.pure

ZONE, IMAGE = "us-central1-b", "projects/proj-1/global/images/kafka"
SECRET = SecretMount("shop-password", "password", "v1")


def told(**changes: Any) -> dict[str, Any]:
    return instance_of(spec(1, **changes), SETTINGS, zone=ZONE, image=IMAGE)


def test_an_instance_is_told_by_the_names_that_google_takes() -> None:
    found = told()
    assert (found["name"], found["zone"], found["image"]) == ("shop-kafka-1", ZONE, IMAGE)
    assert found["machine_type"] == "e2-small", "the file's, not the settings'"
    assert found["tags"] == ["shop-default", "shop-kafka-1-ports"]
    assert found["rule"] in found["tags"], "the rule of its ports finds it by that"
    assert found["labels"]["stoneware"] == "machine"
    assert SPEC in found["metadata"]
    (disk,) = found["disks"]
    assert disk["source"] == f"projects/proj-1/zones/{ZONE}/disks/shop-kafka-1-data"
    assert disk["read_only"] is False


def test_secrets_take_an_account_that_may_read_them() -> None:
    with pytest.raises(InputError, match="shop-kafka-1 has secrets") as refused:
        told(secrets=(SECRET,))
    assert "x-google" in refused.value.resolution
    account = "kafka@proj-1.iam.gserviceaccount.com"
    for settings, extras in (
        (replace(SETTINGS, service_account=account), {}),
        (SETTINGS, {"service_account": account}),
    ):
        found = instance_of(spec(1, secrets=(SECRET,), extras=extras), settings, zone=ZONE, image=IMAGE)
        assert found["service_account"] == account


def test_a_secret_of_others_that_is_not_there_is_told_before_a_machine_goes() -> None:
    asked: list[tuple[str, str]] = []

    def has_secret(name: str, version: str) -> bool:
        asked.append((name, version))
        return version == "1"

    def not_asked(*_: object) -> int:
        raise AssertionError

    inventory = SimpleNamespace(
        settings=SETTINGS,
        at_once=1,
        last_seen=There,
        zones=lambda: (ZONE,),
        offers=lambda *_: True,
        image_link=not_asked,
        image_size=not_asked,
        has_secret=has_secret,
    )
    theirs = "projects/other/secrets/theirs"
    here, gone = (SecretMount(theirs, "token", version) for version in "12")
    wanted = declared(spec(1, secrets=(gone, SECRET)), spec(2, secrets=(gone,)), spec(3, secrets=(here,)))
    machines = [Subject(Kind.MACHINE, f"kafka-{number}") for number in (1, 2, 3)]
    (told,) = parts.lacking(wanted, machines, cast("Inventory", inventory))
    assert told.what == f"version 2 of the secret {theirs} is not there, or is disabled"
    assert told.subjects == (machines[0], machines[1])
    assert told.resolution == "gcloud secrets versions list theirs --project other"
    assert asked == [(theirs, "1"), (theirs, "2")]
