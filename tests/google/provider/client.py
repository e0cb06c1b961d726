"""Requests to the API, its operations and errors, as hashicorp/google sends, polls and words them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.google.provider.documents import Document
from tests.google.provider.settings import Settings

_RETRIED = {429, 500, 502, 503}
_MISSING = 20  # times in a row that an operation may be missing


class ApiError(Exception):
    """A refusal; `status` is None where there was no reply."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Document:
        """The body as a document."""
        found: Document = json.loads(self.body) if self.body else {}
        return found


class Client:
    """The APIs that the provider's configuration names. `stopping` is set when Terraform is interrupted."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self.settings = settings
        self.stopping = stopping

    def get(self, url: str, **query: str) -> Document:
        """Return a document."""
        return self.call("GET", url, **query)

    def call(self, method: str, url: str, body: Document | None = None, /, **query: str) -> Document:
        """Make a request and return its reply. Raises ApiError."""
        raw = None if body is None else json.dumps(body).encode()
        head = {"Content-Type": "application/json"} if raw is not None else {}
        return self.send(method, url, raw, head, {"alt": "json", **query}).document

    def send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> Reply:
        """Make a request, again and again where a server is busy. Raises ApiError."""
        for pause in _pauses():
            reply = self._once(method, f"{url}?{urlencode(query)}", body, headers)
            if reply.status not in _RETRIED:
                break
            if self.stopping.wait(pause):
                break
        if reply.status >= 400:
            raise ApiError(reply.status, _refusal(reply))
        return reply

    def _once(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=self.settings.request_timeout)
        sent = {"Authorization": f"Bearer {self.settings.access_token}", **headers}
        try:
            connection.request(method, f"{parts.path}?{parts.query}", body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(None, f'{method.title()} "{url}": {str(error) or "EOF"}') from error
        finally:
            connection.close()

    def wait(self, operation: Document, project: str, what: str, limit: float) -> None:
        """Wait for the end of an operation. Raises ApiError where it fails, or takes too long."""
        deadline, missing = time.monotonic() + limit, 0
        while operation.get("status") != "DONE" or _not_ready(operation):
            newer = self._newer(operation, project, what)
            missing = missing + 1 if newer is None else 0
            operation = newer or operation
            if missing > _MISSING:
                raise ApiError(None, f"Error waiting for {what}: couldn't find resource ({missing} retries)")
            if operation["status"] == "DONE" and not missing:
                break
            if time.monotonic() > deadline:
                late = (
                    f"timeout while waiting for state to become 'DONE' (last state: '{operation['status']}')"
                )
                raise ApiError(None, f"Error waiting for {what}: {late}")
            # An interrupt ends the wait at once; what is being made is then in no state.
            if self.stopping.wait(self.settings.poll_interval):
                raise ApiError(None, f"Error waiting for {what}: context canceled")
        if found := operation.get("error", {}).get("errors"):
            raise ApiError(None, f"Error waiting for {what}: " + "\n".join(each["message"] for each in found))

    def _newer(self, operation: Document, project: str, what: str) -> Document | None:
        """Return an operation as it is now, None for one that is not there, or is said to be not ready."""
        try:
            found = self.get(_operation(self.settings.endpoint("compute"), project, operation))
        except ApiError as error:
            if error.status == 404:
                return None
            raise ApiError(None, f"Error waiting for {what}: {error}") from error
        return None if _not_ready(found) else found


def _not_ready(operation: Document) -> bool:
    """Say whether an operation failed in the way that the provider takes for one that is not there yet."""
    found = operation.get("error", {}).get("errors", ())
    return any(each.get("code") == "RESOURCE_NOT_READY" for each in found)


def _operation(base: str, project: str, operation: Document) -> str:
    """Return where an operation is: in the zone or region that its last reply named."""
    scope = next(
        (f"{kind}s/{operation[kind].rsplit('/', 1)[1]}" for kind in ("zone", "region") if kind in operation),
        "global",
    )
    return f"{base}projects/{project}/{scope}/operations/{operation['name']}"


def _pauses() -> Iterator[float]:
    pause, following = 0.5, 1.0
    while True:
        yield pause
        pause, following = following, pause + following


def _refusal(reply: Reply) -> str:
    try:
        error: Any = reply.document["error"]
        reasons = "".join(f", {each['reason']}" for each in error.get("errors", ())[:1])
        return f"googleapi: Error {reply.status}: {error['message']}{reasons}"
    except (ValueError, KeyError, TypeError):
        return f"googleapi: got HTTP response code {reply.status} with body: {reply.body[:500]!r}"
