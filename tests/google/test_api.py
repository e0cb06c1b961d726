from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stoneware.emulator import faults
from stoneware.emulator.service import Service
from stoneware.platforms.google import errors
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.settings import Settings
from tests.google.emulated import cloud, document, endpoint, service, settings, store

__all__ = ["cloud", "document", "endpoint", "service", "settings", "store"]
pytestmark = pytest.mark.tool

ZONE = "zones/us-central1-a"


def _disk(cloud: Api, name: str) -> dict[str, Any]:
    return cloud.operate("POST", f"{ZONE}/disks", f"make the disk {name}", {"name": name, "sizeGb": "10"})


def test_what_is_made_is_found_once_its_operation_is_done(cloud: Api) -> None:
    done = _disk(cloud, "d-1")
    assert done["status"] == "DONE"
    assert cloud.get("compute", f"{ZONE}/disks/d-1", "read the disk")["sizeGb"] == "10"
    cloud.operate("DELETE", f"{ZONE}/disks/d-1", "remove the disk")
    assert cloud.find("compute", f"{ZONE}/disks/d-1", "read the disk") is None


def test_operations_that_take_time_are_awaited(service: Service, cloud: Api) -> None:
    object.__setattr__(service.operations, "delay", 0.3)
    assert _disk(cloud, "d-1")["status"] == "DONE"
    assert cloud.requests >= 2


def test_lists_are_read_page_by_page(cloud: Api) -> None:
    for number in range(5):
        _disk(cloud, f"d-{number}")
    found = [disk["name"] for disk in cloud.items("compute", f"{ZONE}/disks", "list disks", maxResults=2)]
    assert found == [f"d-{number}" for number in range(5)]
    everywhere = cloud.items("compute", "aggregated/disks", "list disks", maxResults=500)
    assert sorted(disk["name"] for disk in everywhere) == found


def test_the_zones_are_those_of_the_settings_or_of_the_region(cloud: Api, settings: Settings) -> None:
    assert "us-central1-a" in cloud.zones()
    assert Api(replace(settings, zones=("us-central1-f",))).zones() == ("us-central1-f",)


def test_errors_say_what_could_not_be_done(cloud: Api) -> None:
    with pytest.raises(errors.MissingError, match="cannot read the disk d-9"):
        cloud.get("compute", f"{ZONE}/disks/d-9", "read the disk d-9")
    _disk(cloud, "d-1")
    with pytest.raises(errors.TakenError):
        _disk(cloud, "d-1")


@pytest.mark.parametrize(
    ("fault", "kind"), [("quota", errors.QuotaError), ("stockout", errors.StockoutError)]
)
def test_operations_that_fail_are_errors(
    service: Service, cloud: Api, fault: str, kind: type[Exception]
) -> None:
    service.faults = faults.Faults([faults.parse(fault)])
    with pytest.raises(kind, match="cannot make the disk d-1"):
        _disk(cloud, "d-1")
    service.faults = faults.Faults([])
    assert _disk(cloud, "d-1")["status"] == "DONE"


class _Scripted(http.server.BaseHTTPRequestHandler):
    """Answers with the replies of a list, each a status and a document; `None` closes the connection."""

    replies: list[tuple[int, dict[str, Any]] | None]
    seen: list[str]

    def _answer(self) -> None:
        type(self).seen.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = type(self).replies.pop(0)
        self.close_connection = True
        if reply is None:
            self.connection.close()
            return
        raw = json.dumps(reply[1]).encode()
        self.send_response(reply[0])
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = _answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[tuple[type[_Scripted], Api]]:
    class Handler(_Scripted):
        pass

    Handler.replies, Handler.seen = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    slept: list[float] = []
    yield Handler, Api(Settings("proj-1", "us-central1", "things", endpoint=endpoint), sleep=slept.append)
    server.shutdown()
    server.server_close()
    thread.join()


BUSY = (503, {"error": {"code": 503, "message": "busy"}})
LIMITED = (403, {"error": {"code": 403, "message": "x", "errors": [{"reason": "rateLimitExceeded"}]}})
DONE = (200, {"name": "op", "status": "DONE"})


def test_a_request_is_sent_again_where_that_is_safe(scripted: tuple[type[_Scripted], Api]) -> None:
    server, cloud = scripted
    server.replies[:] = [BUSY, None, LIMITED, (500, {}), (200, {"name": "x"})]
    assert cloud.get("compute", "zones/z", "read") == {"name": "x"}
    server.replies[:] = [None, BUSY, DONE]
    cloud.operate("POST", "zones/z/disks", "make")
    ids = {line.partition("requestId=")[2] for line in server.seen[-3:]}
    assert len(ids) == 1  # one id: what was done though its reply was lost is not done twice
    assert ids != {""}


@pytest.mark.parametrize("reply", [{}, {"status": "RUNNING"}, {"name": 3}, {"name": None, "status": 7}])
def test_a_reply_that_is_no_operation_is_told(
    scripted: tuple[type[_Scripted], Api], reply: dict[str, Any]
) -> None:
    server, cloud = scripted
    server.replies[:] = [(200, reply)]
    with pytest.raises(errors.CloudError, match="cannot make the disk: the reply is no operation"):
        cloud.operate("POST", "zones/z/disks", "make the disk")


def test_what_may_have_been_done_is_not_sent_again(scripted: tuple[type[_Scripted], Api]) -> None:
    server, cloud = scripted
    server.replies[:] = [(502, {})]
    with pytest.raises(errors.CloudError):
        cloud.request("secretmanager", "POST", "secrets/s:addVersion", "put the secret", body={})
    server.replies[:] = [None]
    with pytest.raises(errors.UnreachableError):
        cloud.request("secretmanager", "POST", "secrets/s:addVersion", "put the secret", body={})
    assert len(server.seen) == 2


def test_patience_ends(scripted: tuple[type[_Scripted], Api]) -> None:
    server, cloud = scripted
    impatient = Api(cloud.settings, patience=0)
    server.replies[:] = [BUSY]
    with pytest.raises(errors.CloudError, match="busy"):
        impatient.get("compute", "zones/z", "read")


def test_a_reply_that_is_no_json_is_an_error(scripted: tuple[type[_Scripted], Api]) -> None:
    server, cloud = scripted
    server.replies[:] = [(200, [])]  # type: ignore[list-item]
    with pytest.raises(errors.CloudError):
        cloud.get("compute", "zones/z", "read")


def test_nobody_answers() -> None:
    cloud = Api(Settings("proj-1", "us-central1", "things", endpoint="http://127.0.0.1:9"), patience=0)
    with pytest.raises(errors.UnreachableError, match="does not answer"):
        cloud.get("compute", "zones/z", "read the zone z")


def test_without_credentials_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(errors.AccessError, match="does not know who asks") as caught:
        Api(Settings("proj-1", "us-central1", "things")).get("compute", "zones/z", "read the zone z")
    assert caught.value.resolution == "gcloud auth application-default login"
