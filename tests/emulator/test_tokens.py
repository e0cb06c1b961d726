"""Tokens as Google's libraries get them, what they are for, when they end, and what is refused."""

from __future__ import annotations

import base64
import http.client
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from stoneware.emulator.environment import variables
from stoneware.emulator.service import Service
from stoneware.emulator.tokens import key
from tests.emulator.conftest import PROJECT

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCOUNT = "robot@proj-1.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/ci"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def ask(endpoint: str, line: str, form: Any = None, token: str = "") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = b""
    if isinstance(form, dict):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(form).encode()
    elif form is not None:
        body = form
    verb, path = line.split(" ")
    connection.request(verb, path, body, headers)
    reply = connection.getresponse()
    found = reply.status, json.loads(reply.read())
    connection.close()
    return found


def jwt(claims: dict[str, Any]) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


def refreshed(credentials: Any) -> str:
    from google.auth.transport.requests import Request

    request = Request()
    credentials.refresh(request)
    request.session.close()
    assert credentials.valid
    return str(credentials.token)


def info(endpoint: str, token: str) -> dict[str, Any]:
    status, found = ask(endpoint, f"GET /tokeninfo?access_token={token}")
    assert status == 200
    return found


def test_a_service_accounts_key_gets_a_token_that_is_its_own(endpoint: str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.oauth2 import service_account

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {"client_email": ACCOUNT, "private_key": private.decode(), "token_uri": f"{endpoint}/token"}
    credentials = service_account.Credentials.from_service_account_info(key, scopes=[SCOPE])
    token = refreshed(credentials)
    assert refreshed(credentials) != token
    found = info(endpoint, token)
    assert (found["email"], found["scope"]) == (ACCOUNT, SCOPE)
    assert 3590 < found["expires_in"] <= 3600
    assert ask(endpoint, "GET /v1/userinfo", token=token)[1]["email"] == ACCOUNT
    assert ask(endpoint, "GET /oauth2/v2/userinfo", token=token)[1]["email"] == ACCOUNT


def test_the_printed_environment_is_all_that_a_client_needs(
    endpoint: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import google.auth
    from google.cloud import secretmanager
    from google.cloud.storage import Client

    root = service.store.root
    first = key.write(root, "http://127.0.0.1:1", PROJECT)
    private = json.loads(first.read_text())["private_key"]
    (root / key.FILE).chmod(0o644)
    credentials = key.write(root, endpoint, PROJECT)
    assert json.loads(credentials.read_text())["private_key"] == private
    assert credentials.stat().st_mode & 0o777 == 0o600
    for name, value in variables(endpoint, PROJECT, credentials).items():
        monkeypatch.setenv(name, value)
    found, project = google.auth.default(scopes=[SCOPE])
    assert project == PROJECT
    assert info(endpoint, refreshed(found))["email"] == f"emulator@{PROJECT}.iam.gserviceaccount.com"
    client = secretmanager.SecretManagerServiceClient(
        transport="rest", client_options={"api_endpoint": endpoint}
    )
    assert list(client.list_secrets(parent=f"projects/{PROJECT}")) == []
    client.transport.close()
    objects = Client()
    objects.create_bucket("some-bucket").blob("o").upload_from_string("x")
    objects.close()
    credentials.write_text("[")
    assert json.loads(key.write(root, endpoint, PROJECT).read_text())["private_key"] != private


def test_a_refresh_token_gets_a_token(endpoint: str) -> None:
    from google.oauth2.credentials import Credentials

    made = Credentials(None, "any", token_uri=f"{endpoint}/token", client_id="i", client_secret="s")
    assert info(endpoint, refreshed(made))["email"] == "emulator@localhost"


def test_a_federated_identity_gets_the_token_of_an_account_and_uses_it(
    endpoint: str, tmp_path: Path, service: Service
) -> None:
    from google.auth.identity_pool import Credentials
    from google.cloud import secretmanager

    (tmp_path / "token").write_text(jwt({"sub": "repo:a/b", "exp": time.time() + 60}))
    account = f"projects/-/serviceAccounts/{ACCOUNT}"
    config = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{endpoint}/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }
    federated = Credentials.from_info(config, scopes=[SCOPE])
    found = info(endpoint, refreshed(federated))
    assert found["email"].endswith("/workloadIdentityPools/pool/subject/repo:a/b")
    config["service_account_impersonation_url"] = f"{endpoint}/v1/{account}:generateAccessToken"
    impersonating = Credentials.from_info(config, scopes=[SCOPE])
    token = refreshed(impersonating)
    assert info(endpoint, token)["email"] == ACCOUNT
    client = secretmanager.SecretManagerServiceClient(
        credentials=impersonating, transport="rest", client_options={"api_endpoint": endpoint}
    )
    assert list(client.list_secrets(parent="projects/proj-1")) == []
    client.transport.close()


def test_a_token_that_was_issued_here_expires_and_any_other_is_accepted(
    endpoint: str, service: Service
) -> None:
    account = f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    body = json.dumps({"scope": [SCOPE], "lifetime": "1s"}).encode()
    status, made = ask(endpoint, f"POST {account}", body)
    assert (status, made["expireTime"][-1]) == (200, "Z")
    listing = "GET /storage/v1/b?project=proj-1"
    assert ask(endpoint, listing, token="anything")[0] == 200
    deadline = time.time() + 300
    while (seen := ask(endpoint, listing, token=made["accessToken"]))[0] == 200:
        assert time.time() < deadline
        time.sleep(0.05)
    assert (seen[0], seen[1]["error"]["code"]) == (401, 401)
    assert ask(endpoint, f"GET /tokeninfo?access_token={made['accessToken']}")[0] == 400


def test_tokens_are_kept_as_digests(endpoint: str, service: Service) -> None:
    _, made = ask(endpoint, "POST /token", {"grant_type": "refresh_token", "refresh_token": "r"})
    (record,) = service.store.under("tokens")
    assert made["access_token"] not in str(record)


NOW = time.time()
CLAIMS = {"iss": ACCOUNT, "scope": SCOPE, "iat": NOW, "exp": NOW + 3600}
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "audience": AUDIENCE,
    "subject_token": jwt({"sub": "s", "exp": NOW + 3600}),
}


@pytest.mark.parametrize(
    ("line", "form", "status", "word"),
    [
        ("POST /token", {"grant_type": JWT, "assertion": jwt(CLAIMS)}, 200, None),
        ("POST /token", {"grant_type": JWT, "assertion": jwt(CLAIMS | {"exp": 1})}, 400, "invalid_grant"),
        (
            "POST /token",
            {"grant_type": JWT, "assertion": jwt(CLAIMS | {"iat": NOW + 9999})},
            400,
            "invalid_grant",
        ),
        ("POST /token", {"grant_type": JWT, "assertion": jwt({"iss": ACCOUNT})}, 400, "invalid_grant"),
        ("POST /token", {"grant_type": JWT, "assertion": "x.y"}, 400, "invalid_grant"),
        ("POST /token", {"grant_type": JWT, "assertion": "a.[[[[.c"}, 400, "invalid_grant"),
        ("POST /token", {"grant_type": JWT, "assertion": jwt(CLAIMS | {"target_audience": "a"})}, 501, None),
        ("POST /token", {"grant_type": "refresh_token"}, 400, "invalid_request"),
        ("POST /token", {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ("POST /token", {}, 400, "unsupported_grant_type"),
        ("POST /token", {f"f{number}": "x" for number in range(200)}, 400, "invalid_request"),
        ("POST /v1/token", EXCHANGE, 200, None),
        ("POST /v1/token", EXCHANGE | {"audience": "x"}, 400, "invalid_request"),
        ("POST /v1/token", EXCHANGE | {"subject_token": ""}, 400, "invalid_request"),
        ("POST /v1/token", EXCHANGE | {"grant_type": "x"}, 400, "invalid_request"),
        ("POST /v1/token", EXCHANGE | {"subject_token": jwt({"exp": 1})}, 400, "invalid_grant"),
        ("GET /tokeninfo", None, 400, "invalid_token"),
        ("GET /tokeninfo?access_token=none", None, 400, "invalid_token"),
        ("GET /token", None, 404, None),
    ],
)
def test_what_is_no_grant_is_refused(
    endpoint: str, line: str, form: Any, status: int, word: str | None
) -> None:
    code, reply = ask(endpoint, line, form)
    assert code == status, reply
    if word:
        assert reply["error"] == word


@pytest.mark.parametrize(
    ("account", "body"),
    [
        (ACCOUNT, {}),
        (ACCOUNT, {"scope": [SCOPE], "lifetime": "13h"}),
        (ACCOUNT, {"scope": [SCOPE], "lifetime": "43201s"}),
        ("nobody", {"scope": [SCOPE]}),
    ],
)
def test_an_impersonation_that_is_none_is_refused(endpoint: str, account: str, body: dict[str, Any]) -> None:
    path = f"/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    status, reply = ask(endpoint, f"POST {path}", json.dumps(body).encode())
    assert (status, reply["error"]["status"]) == (400, "INVALID_ARGUMENT")
