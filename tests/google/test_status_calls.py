"""What looking at a cluster of a thousand machines asks of Google: a list of each kind, and their reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from stoneware.cluster.observe import observe
from stoneware.cluster.status import status
from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL
from stoneware.model.machine import Phase
from stoneware.platforms import together
from stoneware.platforms.google import instance, names
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.machines import GoogleMachines
from stoneware.platforms.google.platform import GooglePlatform
from stoneware.platforms.google.resources import network_description
from tests.google.clusters import SETTINGS, spec

pytestmark = pytest.mark.pure
PAGE = 500  # what Google gives at once
MOST_AT_ONCE = 32


class Recorded(Api):
    """Google's answers about `count` machines; counts what is asked, and how much of it at the same time."""

    def __init__(self, count: int) -> None:
        super().__init__(SETTINGS)
        self.records = [_record(number) for number in range(1, count + 1)]
        self.asked: list[str] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._full = threading.Condition(self._lock)

    def request(
        self, service: str, method: str, path: str, what: str, *, query: Any = None, **_: Any
    ) -> dict[str, Any]:
        assert (service, method, bool(what)) == ("compute", "GET", True)
        if path.endswith("/getGuestAttributes"):
            return self._reports()
        with self._lock:
            self.asked.append(path)
        if path == "aggregated/instances":
            start = int((query or {}).get("pageToken", 0))
            more = {"nextPageToken": str(start + PAGE)} if start + PAGE < len(self.records) else {}
            return {"items": {"zones/a": {"instances": self.records[start : start + PAGE]}}} | more
        if path == "global/firewalls":
            rule = {"name": "shop-default", "description": network_description("shop-default", {})}
            return {"items": [rule]}
        if path.startswith("zones/us-central1-a/instances/"):
            return next(it for it in self.records if it["name"] == path.rsplit("/", 1)[1])
        assert path == "aggregated/disks"
        return {"items": {}}

    def _reports(self) -> dict[str, Any]:
        with self._full:
            self.asked.append("getGuestAttributes")
            self._now += 1
            self.most = max(self.most, self._now)
            self._full.wait(0.001)  # others come meanwhile
            self._now -= 1
        value = json.dumps({"phase": "running"})
        return {"queryValue": {"items": [{"namespace": "stoneware", "key": "status", "value": value}]}}


def _record(number: int) -> dict[str, Any]:
    one = spec(number)
    attributes: Mapping[str, str] = {**one.metadata, **instance.written(one, SETTINGS)}
    return {
        "name": names.cloud_name(one.name),
        "id": str(number),
        "status": "RUNNING",
        "zone": "zones/us-central1-a",
        "networkInterfaces": [{"networkIP": f"10.0.{number // 250}.{number % 250}"}],
        "metadata": {"items": instance.items_of(attributes)},
        "tags": {"items": ["shop-default"]},
    }


@pytest.mark.parametrize("count", [10, 1000])
def test_a_status_asks_once_for_each_list_and_once_for_each_machine(count: int) -> None:
    api = Recorded(count)
    platform: Any = GoogleMachines(api, lambda source: source)
    platform.capabilities = GooglePlatform.capabilities
    rows = status(None, observe(platform, "shop"), 0.0)
    assert len(rows) == count
    assert {row.phase for row in rows} == {Phase.RUNNING}
    pages = -(-count // PAGE)
    assert {path: api.asked.count(path) for path in set(api.asked)} == {
        "aggregated/instances": pages,
        "aggregated/disks": 1,
        "global/firewalls": 1,
        "getGuestAttributes": count,
    }
    assert api.most <= MOST_AT_ONCE
    assert spec(1).labels[CLUSTER_LABEL] == "shop"
    assert rows[0].name == spec(1).labels[MACHINE_LABEL]


def test_drift_asks_as_many_machines_at_once_as_a_status_does() -> None:
    api = Recorded(100)
    platform: Any = GoogleMachines(api, lambda source: source)
    platform.capabilities = GooglePlatform.capabilities
    seen = observe(platform, "shop", nonces={})
    assert len(seen.machines) == 100
    assert all(it.found is None for it in seen.machines.values())  # none has answered
    looks = [path for path in api.asked if path.startswith("zones/")]
    assert len(looks) == len(set(looks)) == 100  # by the zones that the list has told
    # What Google was asked a moment ago is not asked again.
    assert api.asked.count("getGuestAttributes") == 100
    assert 1 < api.most <= MOST_AT_ONCE


def test_what_is_done_together_comes_back_in_order() -> None:
    platform: Any = SimpleNamespace(at_once=3)
    assert together.each(platform, lambda number: number * 2, range(50)) == list(range(0, 100, 2))
    with pytest.raises(ZeroDivisionError):
        together.each(platform, lambda number: 1 // number, [1, 0, 2])
    platform.at_once = 1
    assert together.each(platform, str, [1, 2]) == ["1", "2"]
