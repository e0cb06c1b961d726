"""What the build agent fetches and uploads: it is patient, loses nothing, and says why it has given up."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.guest.bakes import Bake
from tests.guest.support import FakeMetadata

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]

OBJECT = "/storage/v1/b/things/o/bakes%2Fb1%2Fbundle.tar"


class Slow(dict[str, str]):
    """Values of the metadata, whose token takes a while, as it does on a busy computer."""

    def get(self, key: str, default: Any = None) -> Any:
        if key.endswith("/token"):
            time.sleep(0.3)
        return super().get(key, default)


def _start(bake: Bake, *, large: bool, patience: int = 60, damaged: bytes = b"") -> None:
    """Start the agent of a builder whose bundle is an object; a large one is streamed each time."""
    bake.agent = bake.agent.replace("SW_PATIENCE:-60", f"SW_PATIENCE:-{patience}")
    if large:
        bake.agent = bake.agent.replace("SMALL_BUNDLE=67108864", "SMALL_BUNDLE=1000")
    bake.run_step("echo here")
    server = bake.metadata
    server.values = Slow(server.values)
    server.values["service-accounts/default/token"] = '{"access_token": "ya29.token", "expires_in": 3599}'
    server.set(stoneware_bundle="gs://things/bakes/b1/bundle.tar", stoneware_storage=server.url)
    server.files = Kept(server, damaged)
    bake.start()


class Kept(dict[str, bytes]):
    """Puts the bundle, or what takes its place, where objects are."""

    def __init__(self, metadata: FakeMetadata, damaged: bytes) -> None:
        super().__init__()
        self.metadata = metadata
        self.damaged = damaged

    def __setitem__(self, name: str, content: bytes) -> None:
        self.metadata.objects[OBJECT] = self.damaged or content


@pytest.mark.parametrize(
    ("large", "faults"),
    [
        (True, []),  # two streams at a time, each with a token of its own
        (False, [401, 403, 503, "cut"]),
        (False, ["half", "half"]),
        (True, [503, "cut", "half", "half", "cut", "half"]),
    ],
)
def test_a_bundle_is_fetched_with_patience(bake: Bake, large: bool, faults: list[int | str]) -> None:
    bake.metadata.faults = list(faults)
    _start(bake, large=large)
    bake.wait("sealed")
    assert bake.lines(1) == ["here"]
    assert bake.metadata.faults == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (404, "The requested URL returned error: 404"),
        (403, "The requested URL returned error: 403"),
        ("cut", "Empty reply from server"),
    ],
)
def test_why_a_bundle_cannot_be_fetched_is_said(bake: Bake, fault: int | str, why: str) -> None:
    bake.metadata.faults = [fault] * 1000
    _start(bake, large=False, patience=1)
    report = bake.metadata.wait_report("stoneware/build", lambda it: it["state"] == "failed")
    assert report["message"] == f"the bundle cannot be fetched: {why}"


def test_a_bundle_that_is_none_is_said(bake: Bake) -> None:
    _start(bake, large=False, damaged=b"no archive" * 100)
    report = bake.metadata.wait_report("stoneware/build", lambda it: it["state"] == "failed")
    assert report["message"].startswith("the bundle cannot be fetched: tar: ")


def test_results_are_uploaded_with_patience(bake: Bake) -> None:
    bake.metadata.faults = ["cut", "cut", 503, "cut"]
    bake.run_step("echo here")
    bake.start()
    bake.wait("sealed")
    assert bake.results()
    assert bake.metadata.faults == []
