"""Faults that were asked for: what a client sees of each, and what is done all the same."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stoneware.cli import program
from stoneware.emulator import errors, faults
from stoneware.emulator.service import Service
from stoneware.errors import InputError
from tests.emulator.conftest import PROJECT, Api

ZONE = "us-central1-a"
DISK = {"name": "d", "sizeGb": 10}
Wrong = Callable[..., None]


@pytest.fixture
def wrong(service: Service) -> Wrong:
    """Let things go wrong from now on: each drawn number says whether one does."""

    def ask(*texts: str, draws: list[float] | None = None) -> None:
        numbers = iter(draws or [])
        service.faults = faults.Faults(map(faults.parse, texts), lambda: next(numbers, 0.0))

    return ask


EXHAUSTED = f"The zone 'projects/{PROJECT}/zones/{ZONE}' does not have enough resources"


@pytest.mark.parametrize(
    ("name", "shown", "message"),
    [
        ("quota", ("QUOTA_EXCEEDED", 403, "FORBIDDEN"), "Quota 'DISKS_TOTAL_GB' exceeded"),
        ("stockout", ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, "SERVICE UNAVAILABLE"), EXHAUSTED),
    ],
)
def test_the_operation_of_an_insert_fails_and_nothing_is_made(
    api: Api, wrong: Wrong, name: str, shown: tuple[str, int, str], message: str
) -> None:
    wrong(name)
    operation = api("disks.insert", DISK, zone=ZONE)
    (error,) = operation["error"]["errors"]
    assert (error["code"], operation["httpErrorStatusCode"], operation["httpErrorMessage"]) == shown
    assert error["message"].startswith(message)
    again = api("zoneOperations.get", zone=ZONE, operation=operation["name"])
    assert again["error"] == operation["error"]
    assert "items" not in api("disks.list", zone=ZONE)
    wrong()
    assert "error" not in api("disks.insert", DISK, zone=ZONE)
    wrong(name)
    with pytest.raises(errors.ApiError, match="already exists"):
        api("disks.insert", DISK, zone=ZONE)


def test_a_stockout_is_of_a_zone_and_a_quota_of_all_places(api: Api, wrong: Wrong) -> None:
    wrong("stockout")
    assert "error" not in api("networks.insert", {"name": "n"})
    wrong("quota")
    operation = api("networks.insert", {"name": "m"})
    assert operation["error"]["errors"][0]["message"] == "Quota 'NETWORKS' exceeded.  Limit: 0.0 globally."


@pytest.mark.parametrize("status", ["429", "500", "502", "503"])
def test_a_request_is_refused_before_anything_is_done(api: Api, wrong: Wrong, status: str) -> None:
    wrong(f"{status}:0.5", draws=[0.49, 0.5])
    with pytest.raises(errors.ApiError) as caught:
        api("disks.insert", DISK, zone=ZONE)
    assert caught.value.status == int(status)
    assert "error" not in api("disks.insert", DISK, zone=ZONE)


def test_a_slow_operation_is_done_later(service: Service, api: Api, wrong: Wrong) -> None:
    wrong("slow-operation")
    slow = api("disks.insert", DISK, zone=ZONE)
    wrong()
    assert slow["status"] == "RUNNING"
    assert api("disks.insert", DISK | {"name": "e"}, zone=ZONE)["status"] == "DONE"


@pytest.mark.tool
def test_a_lost_reply_leaves_what_was_done(endpoint: str, api: Api, wrong: Wrong) -> None:
    wrong("lost-reply")
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
    path = f"/compute/v1/projects/{PROJECT}/global/networks"
    connection.request("POST", path, b'{"name": "n"}')
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()
    connection.request("GET", f"{path}/n")  # a request that changes nothing keeps its reply
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.tool
def test_each_reply_takes_longer(endpoint: str, service: Service) -> None:
    service.latency = 0.2
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
    for status, path in ((200, f"/compute/v1/projects/{PROJECT}"), (404, "/nothing")):
        began = time.monotonic()
        connection.request("GET", path)
        reply = connection.getresponse()
        assert (reply.status, bool(reply.read())) == (status, True)
        assert time.monotonic() - began >= 0.2
    connection.close()


@pytest.mark.parametrize("text", ["", "flood", "503:2", "503:-1", "503:", "503:x", "quota:0.1:1", "504"])
def test_what_is_no_fault_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="is no fault"):
        faults.parse(text)
    assert program.run(["emulate", "google", "--state", str(tmp_path), "--fault", text]) == 2
    assert "quota, stockout, preempt, slow-operation, lost-reply, 429" in capsys.readouterr().err


def test_chances_are_numbers() -> None:
    chances = [faults.parse(f"quota{text}").chance for text in ("", ":0", ":1", ":0.25", ":.5")]
    assert chances == [1.0, 0.0, 1.0, 0.25, 0.5]
