"""What machines of instances get of the emulator, and what they are refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest

from stoneware.emulator import discovery, guest_access, guest_connections, instance_work
from stoneware.emulator.environment import variables
from stoneware.emulator.errors import ApiError
from stoneware.emulator.front import Front
from stoneware.emulator.guest_connections import CONNECTIONS, Guests
from stoneware.emulator.guest_front import GuestFront
from stoneware.emulator.machine_spec import machine_name
from stoneware.emulator.secret_manager.api import SecretManager
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Store
from stoneware.emulator.tokens.records import LIFETIME
from stoneware.model.guest_protocol import GUEST_ENDPOINT
from tests.emulator.computers import Computers
from tests.emulator.conftest import PROJECT, Api
from tests.emulator.test_instances import KEY, MACHINE, body, did

SCOPES = "https://www.googleapis.com/auth/"
READ, WRITE, ALL = (
    f"{SCOPES}devstorage.read_only",
    f"{SCOPES}devstorage.read_write",
    f"{SCOPES}cloud-platform",
)
UPLOAD = "/upload/storage/v1/b/bucket/o?uploadType=media&name="
SECRET = f"/v1/projects/{PROJECT}/secrets/s/versions/1:access"
SECOND = machine_name(KEY.replace("k1", "k2"))


class Clock:
    """Real time, and what was added to it."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.time() + self.added


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def reason(self) -> str:
        error = json.loads(self.body)["error"]
        return str(error["errors"][0]["reason"] if "errors" in error else error["status"])


class Endpoint:
    """Asks as machines do, each over a connection of its own."""

    def __init__(self, guests: Guests) -> None:
        self.guests = guests

    async def connect(self, machine: str = MACHINE) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        here, there = socket.socketpair()
        self.guests.enter(machine, there)
        return await asyncio.open_connection(sock=here)

    async def ask(
        self,
        verb: str,
        path: str,
        token: str = "",
        content: bytes | None = None,
        machine: str = MACHINE,
        **more: str,
    ) -> Reply:
        reader, writer = await self.connect(machine)
        headers = {"Host": "169.254.169.254:8089", "Connection": "close"} | more
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= (
            {} if content is None or "Transfer_Encoding" in more else {"Content-Length": str(len(content))}
        )
        lines = [
            f"{verb} {path} HTTP/1.1",
            *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (content or b""))
        raw = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
        return parsed(raw)


def parsed(raw: bytes) -> Reply:
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    if first.split()[1] == "100":
        return parsed(rest)
    return Reply(int(first.split()[1]), rest, dict(line.split(": ", 1) for line in lines))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def computers() -> Computers:
    return Computers()


@pytest.fixture
def service(
    document: discovery.Document, store: Store, computers: Computers, clock: Clock
) -> Iterator[Service]:
    made = Service(document, store, delay=0, clock=clock, open_computers=lambda: computers)
    made.add_project(PROJECT)
    made.add_project("other")
    made.add_public_images()
    yield made
    made.jobs.close()


def run(service: Service, scenario: Callable[[Endpoint], Awaitable[None]]) -> None:
    async def whole() -> None:
        front = Front(service, None)
        for name, project in (("bucket", PROJECT), ("foreign", "other")):
            await _made(front, "buckets.insert", {"project": project}, {"name": name})
        guests = Guests(GuestFront(front, service).respond)
        guests.start()
        try:
            await scenario(Endpoint(guests))
        finally:
            await guests.close()

    asyncio.run(whole())


async def _made(front: Front, method: str, query: dict[str, Any], content: dict[str, Any]) -> None:
    found = front.storage.document.methods[f"storage.{method}"]
    await front.storage.answer(Call(found, query, content, base="http://127.0.0.1:1"))


def instance(api: Api, computers: Computers, name: str = "k1", *scopes: str) -> str:
    """Make an instance, and return the token that its metadata server hands out."""
    account = {"email": "default", "scopes": list(scopes)}
    did(api, "instances.insert", body(name, serviceAccounts=[account]))
    return told(computers, machine_name(KEY.replace("k1", name)))


def told(computers: Computers, machine: str = MACHINE) -> str:
    accounts = json.loads(computers.machines[machine].identity["instance/service-accounts"])
    return str(accounts["default"]["token"]["access_token"])


def test_an_instance_uploads_and_downloads_objects(service: Service, api: Api, computers: Computers) -> None:
    token = instance(api, computers, "k1", WRITE)

    async def scenario(at: Endpoint) -> None:
        made = await at.ask("POST", f"{UPLOAD}a%2Fb", token, b"contents", Expect="100-continue")
        assert made.status == 200, made
        assert json.loads(made.body)["mediaLink"].startswith(
            f"{GUEST_ENDPOINT}/download/storage/v1/b/bucket/o/"
        )
        for path in (
            "/storage/v1/b/bucket/o/a%2Fb?alt=media",
            "/download/storage/v1/b/bucket/o/a%2Fb?alt=media",
            "/bucket/a/b",
        ):
            assert (await at.ask("GET", path, token)).body == b"contents"
        found = json.loads((await at.ask("GET", "/storage/v1/b/bucket/o", token)).body)
        assert [item["name"] for item in found["items"]] == ["a/b"]
        assert (await at.ask("GET", "/storage/v1/b/bucket/o/none", token)).status == 404
        again = await at.ask("POST", f"{UPLOAD}a%2Fb&ifGenerationMatch=0", token, b"x")
        assert again.status == 412

    run(service, scenario)


def test_a_resumable_upload_is_its_machines_own(service: Service, api: Api, computers: Computers) -> None:
    token, second = (instance(api, computers, name, WRITE) for name in ("k1", "k2"))
    path = UPLOAD.replace("media", "resumable")

    async def scenario(at: Endpoint) -> None:
        begun = await at.ask("POST", f"{path}large", token, b"")
        place = begun.headers["Location"]
        assert place.startswith(f"{GUEST_ENDPOINT}/upload/storage/v1/b/bucket/o?")
        session = place.removeprefix(GUEST_ENDPOINT)
        assert (await at.ask("PUT", session, second, b"theirs", machine=SECOND)).status == 404
        assert (await at.ask("PUT", session, token, b"mine")).status == 200
        assert (await at.ask("GET", "/bucket/large", token)).body == b"mine"
        for number in range(50):
            assert (await at.ask("POST", f"{path}{number}", token, b"")).status == 200
        assert (await at.ask("POST", f"{path}more", token, b"")).reason == "rateLimitExceeded"
        assert (await at.ask("POST", f"{path}more", second, b"", machine=SECOND)).status == 200

    run(service, scenario)


def test_scopes_say_what_a_token_is_for(service: Service, api: Api, computers: Computers) -> None:
    reads, nothing, everything = (
        instance(api, computers, name, *scopes)
        for name, scopes in (("k1", [READ]), ("k2", [f"{SCOPES}logging.write"]), ("k3", [ALL]))
    )
    secret = Secrets(service)

    async def scenario(at: Endpoint) -> None:
        refused = await at.ask("POST", f"{UPLOAD}a", reads, b"x")
        assert (refused.status, refused.reason) == (403, "forbidden")
        assert json.loads(refused.body)["error"]["message"] == "Provided scope(s) are not authorized"
        assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
        assert (await at.ask("GET", "/bucket/a", reads)).status == 404
        assert (await at.ask("GET", "/bucket/a", nothing, machine=SECOND)).status == 403
        refused = await at.ask("GET", SECRET, reads)
        assert (refused.status, refused.reason) == (403, "PERMISSION_DENIED")
        assert (
            json.loads(refused.body)["error"]["message"] == "Request had insufficient authentication scopes."
        )
        third = machine_name(KEY.replace("k1", "k3"))
        payload = json.loads((await at.ask("GET", SECRET, everything, machine=third)).body)["payload"]
        assert base64.b64decode(payload["data"]) == b"hunter2"
        by_number = SECRET.replace(PROJECT, secret.project_number)
        assert (await at.ask("GET", by_number, everything, machine=third)).status == 200

    run(service, scenario)


class Secrets:
    """A secret with one version."""

    def __init__(self, service: Service) -> None:
        api = SecretManager(service)
        self.project_number = str((service.store.get(f"projects/{PROJECT}") or {})["id"])
        methods = api.document.methods

        async def made() -> None:
            place = {"parent": f"projects/{PROJECT}", "secretId": "s"}
            create = methods["secretmanager.projects.secrets.create"]
            await api.answer(Call(create, place, {"replication": {"automatic": {}}}))
            add = methods["secretmanager.projects.secrets.addVersion"]
            data = base64.b64encode(b"hunter2").decode()
            await api.answer(
                Call(add, {"parent": f"projects/{PROJECT}/secrets/s"}, {"payload": {"data": data}})
            )

        asyncio.run(made())


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"GET /compute/v1/projects/{PROJECT}/zones/us-central1-a/instances", 403),
        (f"POST /compute/v1/projects/{PROJECT}/zones/us-central1-a/instances", 403),
        (f"DELETE /compute/v1/projects/{PROJECT}/zones/us-central1-a/instances/k1", 403),
        (f"GET /storage/v1/b?project={PROJECT}", 403),
        ("DELETE /storage/v1/b/bucket", 403),
        ("DELETE /storage/v1/b/bucket/o/a", 403),
        (f"GET /v1/projects/{PROJECT}/secrets", 403),
        (f"POST /v1/projects/{PROJECT}/secrets?secretId=x", 403),
        ("GET /tokeninfo?access_token=x", 403),
        ("POST /token", 403),
        ("POST /v1/projects/-/serviceAccounts/a@b.example:generateAccessToken", 403),
        ("POST /batch/compute/v1", 404),
        ("GET /", 404),
        ("GET /foreign/a", 403),
        ("GET /storage/v1/b/foreign/o", 403),
        ("GET /v1/projects/other/secrets/s/versions/1:access", 403),
    ],
)
def test_nothing_else_of_the_emulator_is_reached(
    service: Service, api: Api, computers: Computers, line: str, status: int
) -> None:
    token = instance(api, computers, "k1", ALL)

    async def scenario(at: Endpoint) -> None:
        verb, path = line.split(" ")
        assert (await at.ask(verb, path, token, b"{}" if verb == "POST" else None)).status == status

    run(service, scenario)


def test_only_the_instances_own_token_is_taken(
    service: Service, api: Api, computers: Computers, clock: Clock
) -> None:
    token, second = (instance(api, computers, name, ALL) for name in ("k1", "k2"))
    issued = service.tokens.issue("somebody@proj-1.iam.gserviceaccount.com", ALL)

    async def scenario(at: Endpoint) -> None:
        path = "/storage/v1/b/bucket/o"
        missing = await at.ask("GET", path)
        assert (missing.status, missing.reason) == (401, "required")
        for other in (second, issued, "emulator", "ya29.made-up"):
            refused = await at.ask("GET", path, other)
            assert (refused.status, refused.reason) == (401, "authError")
        assert (await at.ask("GET", path, second, machine=SECOND)).status == 200
        assert (await at.ask("GET", path, token)).status == 200
        clock.added += LIFETIME + 1
        assert (await at.ask("GET", path, token)).status == 401
        instance_work.look(service)
        idle(service)
        assert told(computers) != token
        assert (await at.ask("GET", path, told(computers))).status == 200

    run(service, scenario)


def idle(service: Service) -> None:
    deadline = time.monotonic() + 300
    while not service.jobs.idle():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_token_is_renewed_in_time_and_ends_with_its_machine(
    service: Service, api: Api, computers: Computers, clock: Clock
) -> None:
    token = instance(api, computers, "k1", ALL)
    instance_work.look(service)
    idle(service)
    assert told(computers) == token
    clock.added += LIFETIME - 600
    instance_work.look(service)
    idle(service)
    renewed = told(computers)
    assert renewed != token
    assert (service.tokens.known(renewed) or {})["expires"] > clock() + 3000
    did(api, "instances.stop", instance="k1")
    assert service.tokens.known(renewed) is None
    did(api, "instances.start", instance="k1")
    assert service.tokens.known(told(computers)) is not None
    did(api, "instances.delete", instance="k1")
    assert not [key for key, record in service.store.under("tokens") if record.get("instance") == KEY]


def test_an_instance_without_an_account_has_no_token(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    assert json.loads(computers.machines[MACHINE].identity["instance/service-accounts"]) == {}


def test_uploads_are_bounded(
    service: Service, api: Api, computers: Computers, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = instance(api, computers, "k1", WRITE)

    async def scenario(at: Endpoint) -> None:
        chunked = await at.ask(
            "POST", f"{UPLOAD}a", token, b"1\r\nx\r\n0\r\n\r\n", Transfer_Encoding="chunked"
        )
        assert chunked.status == 411
        monkeypatch.setattr(guest_access, "LARGEST", 10)
        assert (await at.ask("POST", f"{UPLOAD}a", token, b"x" * 11)).status == 413
        monkeypatch.setattr(guest_access, "OBJECTS", 1)
        assert (await at.ask("POST", f"{UPLOAD}a", token, b"x")).status == 200
        assert (await at.ask("POST", f"{UPLOAD}b", token, b"x")).reason == "rateLimitExceeded"
        free = shutil.disk_usage(service.store.root).free
        monkeypatch.setattr(guest_access, "ROOM", 2 * free)
        assert (await at.ask("POST", f"{UPLOAD}a", token, b"x")).status == 503

    run(service, scenario)


def test_a_machine_has_so_many_connections(service: Service, api: Api, computers: Computers) -> None:
    token = instance(api, computers, "k1", READ)

    async def scenario(at: Endpoint) -> None:
        opened = [await at.connect() for _ in range(CONNECTIONS)]
        await asyncio.sleep(0.05)
        reader, writer = await at.connect()
        assert await asyncio.wait_for(reader.read(), 20) == b""
        assert (await at.ask("GET", "/bucket/a", "x", machine=SECOND)).status == 401
        for _, other in [*opened, (reader, writer)]:
            other.close()
            await other.wait_closed()
        await asyncio.sleep(0.05)
        assert (await at.ask("GET", "/bucket/a", token)).status == 404

    run(service, scenario)


def test_machines_leave_connections_for_programs(
    service: Service, api: Api, computers: Computers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_connections, "_descriptors", lambda: 4)
    instance(api, computers, "k1", READ)

    async def scenario(at: Endpoint) -> None:
        opened = [await at.connect(machine) for machine in (MACHINE, SECOND)]
        await asyncio.sleep(0.05)
        reader, writer = await at.connect("another")
        assert await asyncio.wait_for(reader.read(), 20) == b""
        for _, other in [*opened, (reader, writer)]:
            other.close()
            await other.wait_closed()

    run(service, scenario)


def test_connections_that_stall_are_ended(
    service: Service, api: Api, computers: Computers, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = instance(api, computers, "k1", WRITE)

    async def scenario(at: Endpoint) -> None:
        idle_one = await at.connect()
        slow = await at.connect()
        lines = [f"POST {UPLOAD}a HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Content-Length: 9"]
        slow[1].write("\r\n".join([*lines, "", "x"]).encode())
        await asyncio.sleep(0.1)
        at.guests.look()
        now = at.guests.now()
        monkeypatch.setattr(at.guests, "now", lambda: now + guest_connections.IDLE + 1)
        at.guests.look()
        assert await asyncio.wait_for(idle_one[0].read(), 20) == b""
        monkeypatch.setattr(at.guests, "now", lambda: now + guest_connections.STALL + 1)
        at.guests.look()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(slow[0].read(), 20) == b""
        for _, writer in (idle_one, slow):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(service, scenario)


def test_a_machine_asks_only_so_much() -> None:
    now = [0.0]
    accounts = guest_access.Accounts(lambda: now[0])
    for _ in range(int(guest_access.BURST)):
        accounts.charge("a")
    with pytest.raises(ApiError, match="asks too much"):
        accounts.charge("a")
    accounts.charge("b")
    now[0] += 2 / guest_access.RATE
    accounts.charge("a")


def test_programs_are_told_where_instances_find_it(tmp_path: Any) -> None:
    for endpoint in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        said = variables(endpoint, PROJECT, tmp_path)
        assert said["STONEWARE_GOOGLE_GUEST_ENDPOINT"] == "http://169.254.169.254:8089" == GUEST_ENDPOINT
