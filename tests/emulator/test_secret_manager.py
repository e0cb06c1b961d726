"""Secrets and their versions, as Google's Python client and gcloud see them, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.emulator import validate
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.errors import ApiError
from stoneware.emulator.secret_manager.api import SecretManager
from stoneware.emulator.service import Call, Service
from tests import programs
from tests.emulator.conftest import PROJECT

P = f"projects/{PROJECT}"
AUTOMATIC: dict[str, Any] = {"replication": {"automatic": {}}}
Ask = Callable[..., dict[str, Any]]


def payload(text: str | bytes) -> dict[str, Any]:
    raw = text if isinstance(text, bytes) else text.encode()
    return {"payload": {"data": base64.b64encode(raw).decode()}}


@pytest.fixture
def clock() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def ask(service: Service, clock: list[float]) -> Ask:
    """Ask without HTTP: `ask("secrets.create", {…}, parent=…)`."""
    service.clock = lambda: clock[0]
    (api,) = (one for one in Cloud(service).apis if isinstance(one, SecretManager))

    def call(method: str, body: dict[str, Any] | None = None, /, **given: str) -> dict[str, Any]:
        place = "projects.locations" if "/locations/" in str(given) else "projects"
        found = api.document.methods[f"secretmanager.{place}.{method}"]
        query = validate.parameters(found, given)
        content = validate.body(api.document, found.request, body or {}) if found.request else {}
        return asyncio.run(api.answer(Call(found, query, content)))

    return call


@contextlib.contextmanager
def refused(status: int, text: str | None = None) -> Iterator[None]:
    with pytest.raises(ApiError, match=text) as caught:
        yield
    assert caught.value.status == status, caught.value


def test_versions_count_up_and_latest_is_the_newest_whatever_its_state(ask: Ask) -> None:
    made = ask("secrets.create", AUTOMATIC, parent=P, secretId="s")
    assert re.fullmatch(r"projects/\d+/secrets/s", made["name"])
    for name in (f"{P}/secrets/s", made["name"]):
        version = ask("secrets.addVersion", payload("hello"), parent=name)
    assert version["name"] == f"{made['name']}/versions/2"
    latest = f"{P}/secrets/s/versions/latest"
    seen = ask("secrets.versions.access", name=latest)
    assert (seen["name"], seen["payload"]) == (
        version["name"],
        {"data": "aGVsbG8=", "dataCrc32c": "2591144780"},
    )
    ask("secrets.versions.disable", name=latest)
    with refused(400, r"versions/2\] is in DISABLED state"):
        ask("secrets.versions.access", name=latest)
    ask("secrets.versions.enable", name=latest)
    ask("secrets.versions.destroy", name=latest)
    for method in ("access", "enable", "disable", "destroy"):
        with refused(400, "DESTROYED"):
            ask(f"secrets.versions.{method}", name=latest)
    assert ask("secrets.addVersion", payload("x"), parent=f"{P}/secrets/s")["name"].endswith("/3")
    found = ask("secrets.versions.list", parent=f"{P}/secrets/s", filter="state:ENABLED")
    assert [one["name"][-1] for one in found["versions"]] == ["3", "1"]


def test_an_etag_changes_with_each_change_and_guards_it(ask: Ask) -> None:
    secret = ask("secrets.create", AUTOMATIC, parent=P, secretId="s")
    name = secret["name"]
    version = ask("secrets.addVersion", payload("x"), parent=name)
    again = ask("secrets.versions.enable", {"etag": version["etag"]}, name=version["name"])
    assert again["etag"] != version["etag"]
    with refused(400, "etag"):
        ask("secrets.versions.destroy", {"etag": version["etag"]}, name=version["name"])
    assert ask("secrets.get", name=name)["etag"] == secret["etag"]
    new = {"labels": {"a": "b"}, "etag": secret["etag"]}
    ask("secrets.patch", new, name=name, updateMask="labels,etag")
    with refused(400, "etag"):
        ask("secrets.patch", new, name=name, updateMask="labels")
    with refused(400, "etag"):
        ask("secrets.delete", name=name, etag=secret["etag"])
    policy = ask("secrets.getIamPolicy", resource=name)
    ask("secrets.setIamPolicy", {"policy": policy}, resource=name)
    with refused(409):
        ask("secrets.setIamPolicy", {"policy": policy}, resource=name)
    assert ask("secrets.testIamPermissions", {"permissions": ["x"]}, resource=name) == {"permissions": ["x"]}


def test_only_what_the_mask_names_is_changed(ask: Ask) -> None:
    name = ask("secrets.create", {**AUTOMATIC, "labels": {"a": "b"}}, parent=P, secretId="s")["name"]
    ask("secrets.addVersion", payload("x"), parent=name)
    body = {"versionAliases": {"stable": "1"}, "annotations": {"k": "v"}, "labels": {}}
    changed = ask("secrets.patch", body, name=name, updateMask="version_aliases,annotations")
    assert (changed["labels"], changed["annotations"]) == ({"a": "b"}, {"k": "v"})
    assert ask("secrets.versions.access", name=f"{name}/versions/stable")["payload"]["data"] == "eA=="
    assert "annotations" not in ask("secrets.patch", {}, name=name, updateMask="annotations")
    for mask in ("", "replication", "name"):
        with refused(400):
            ask("secrets.patch", body, name=name, updateMask=mask)
    with refused(400, "no version 7"):
        ask("secrets.patch", {"versionAliases": {"x": "7"}}, name=name, updateMask="versionAliases")


def test_a_secret_is_gone_with_its_versions_and_when_it_expires(
    ask: Ask, clock: list[float], service: Service
) -> None:
    for secret, more in (
        ("a", {"ttl": "60s"}),
        ("b", {}),
        ("c", {"expireTime": "1970-01-13T00:00:00+01:00"}),
    ):
        ask("secrets.create", {**AUTOMATIC, **more}, parent=P, secretId=secret)
        ask("secrets.addVersion", payload("x"), parent=f"{P}/secrets/{secret}")
    clock[0] += 86400
    assert [one["name"][-1] for one in ask("secrets.list", parent=P)["secrets"]] == ["b"]
    with refused(404):
        ask("secrets.versions.access", name=f"{P}/secrets/a/versions/1")
    ask("secrets.delete", name=f"{P}/secrets/b")
    assert list(service.store.matching(P, "secrets")) == []


def test_secrets_are_listed_in_pages_the_newest_first(ask: Ask, clock: list[float]) -> None:
    for number in range(3):
        clock[0] += 1
        ask("secrets.create", {**AUTOMATIC, "labels": {"n": str(number)}}, parent=P, secretId=f"s{number}")
    first = ask("secrets.list", parent=P, pageSize="2")
    assert ([one["name"][-2:] for one in first["secrets"]], first["totalSize"]) == (["s2", "s1"], 3)
    rest = ask("secrets.list", parent=P, pageSize="2", pageToken=first["nextPageToken"])
    assert ([one["name"][-2:] for one in rest["secrets"]], "nextPageToken" in rest) == (["s0"], False)
    assert len(ask("secrets.list", parent=P, filter="labels.n=1")["secrets"]) == 1
    assert ask("secrets.list", parent=P, filter="name:none") == {"totalSize": 0}
    with refused(400, "pageSize"):
        ask("secrets.list", parent=P, pageSize="-1")


def test_a_region_has_secrets_of_its_own(ask: Ask) -> None:
    place = f"{P}/locations/us-central1"
    made = ask("secrets.create", {}, parent=place, secretId="s")
    ask("secrets.addVersion", payload("here"), parent=made["name"])
    assert ask("secrets.versions.access", name=f"{place}/secrets/s/versions/1")["payload"]["data"]
    assert ask("secrets.list", parent=P) == {"totalSize": 0}
    with refused(400):
        ask("secrets.create", AUTOMATIC, parent=place, secretId="t")
    with refused(400):
        ask("secrets.create", {}, parent=f"{P}/locations/moon", secretId="t")


MANAGED = {"replication": {"userManaged": {"replicas": [{"location": "us-central1"}]}}}


@pytest.mark.parametrize(
    ("secret", "body", "status"),
    [
        ("", AUTOMATIC, 400),
        ("a/b", AUTOMATIC, 400),
        ("..", AUTOMATIC, 400),
        ("x" * 256, AUTOMATIC, 400),
        ("s\0", AUTOMATIC, 400),
        ("s", {}, 400),
        ("s", {"replication": {"userManaged": {"replicas": [{"location": "moon"}]}}}, 400),
        ("s", {"replication": {"automatic": {}, **MANAGED["replication"]}}, 400),
        ("s", {**AUTOMATIC, "labels": {"No": "x"}}, 400),
        ("s", {**AUTOMATIC, "ttl": "soon"}, 400),
        ("s", {**AUTOMATIC, "expireTime": "soon"}, 400),
        ("s", {**AUTOMATIC, "versionAliases": {"a": "1"}}, 400),
        ("s", {**AUTOMATIC, "versionDestroyTtl": "86400s"}, 501),
    ],
)
def test_a_secret_that_is_none_is_refused(ask: Ask, secret: str, body: dict[str, Any], status: int) -> None:
    with refused(status):
        ask("secrets.create", body, parent=P, secretId=secret)
    ask("secrets.create", MANAGED, parent=P, secretId="s")
    with refused(409, "already exists"):
        ask("secrets.create", MANAGED, parent=P, secretId="s")


@pytest.mark.parametrize(
    "body",
    [
        {},
        payload(""),
        payload(b"x" * 65_537),
        {"payload": {"data": "%%%"}},
        {"payload": {"data": "eA==", "dataCrc32c": "1"}},
    ],
)
def test_a_payload_that_is_none_is_refused(ask: Ask, body: dict[str, Any]) -> None:
    ask("secrets.create", AUTOMATIC, parent=P, secretId="s")
    with refused(400):
        ask("secrets.addVersion", body, parent=f"{P}/secrets/s")
    with refused(404):
        ask("secrets.versions.access", name=f"{P}/secrets/s/versions/latest")
    assert ask("secrets.addVersion", payload(b"\0" * 65_536), parent=f"{P}/secrets/s")


@pytest.mark.parametrize("name", [f"{P}/secrets/none", "projects/other/secrets/s", f"{P}/secrets/s/x"])
def test_what_is_not_there_is_404_or_no_name(ask: Ask, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        ask("secrets.get", name=name)
    assert caught.value.status in (400, 404)


@pytest.fixture
def client(endpoint: str) -> Iterator[Any]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import secretmanager

    made = secretmanager.SecretManagerServiceClient(
        credentials=AnonymousCredentials(), transport="rest", client_options={"api_endpoint": endpoint}
    )
    yield made
    made.transport.close()


@pytest.mark.tool
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_googles_client_keeps_reads_and_destroys_a_secret(client: Any) -> None:
    from google.api_core.exceptions import AlreadyExists, BadRequest, Conflict, NotFound

    secret = client.create_secret(parent=P, secret_id="s", secret={**AUTOMATIC, "labels": {"a": "b"}})
    with pytest.raises((AlreadyExists, Conflict)):
        client.create_secret(parent=P, secret_id="s", secret=AUTOMATIC)
    version = client.add_secret_version(parent=secret.name, payload={"data": b"hello"})
    seen = client.access_secret_version(name=f"{P}/secrets/s/versions/latest")
    assert (seen.name, seen.payload.data, seen.payload.data_crc32c) == (version.name, b"hello", 2591144780)
    secret.labels["c"] = "d"
    assert client.update_secret(secret=secret, update_mask={"paths": ["labels"]}).labels["c"] == "d"
    assert client.disable_secret_version(name=version.name).state.name == "DISABLED"
    with pytest.raises(BadRequest, match="DISABLED"):
        client.access_secret_version(name=version.name)
    assert [one.name for one in client.list_secret_versions(parent=secret.name)] == [version.name]
    assert client.destroy_secret_version(name=version.name).state.name == "DESTROYED"
    client.delete_secret(name=secret.name)
    with pytest.raises(NotFound):
        client.get_secret(name=secret.name)
    assert list(client.list_secrets(parent=P)) == []


@pytest.mark.tool
@programs.needs_gcloud
def test_gcloud_makes_and_reads_a_secret(endpoint: str, tmp_path: Path) -> None:
    environment = programs.gcloud_environment(tmp_path, PROJECT, secretmanager=f"{endpoint}/")
    for words, text, shown in (
        (["create", "s", "--data-file=-"], "hello", ""),
        (["versions", "access", "latest", "--secret=s"], "", "hello"),
    ):
        done = programs.run("gcloud", "secrets", *words, environment=environment, stdin=text)
        assert done.stdout == shown
