"""What an instance may ask the emulator: objects and secrets of its project, with its own token."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from aiohttp import web

from stoneware.dataclass import dataclass
from stoneware.emulator import errors
from stoneware.emulator.discovery import Method
from stoneware.emulator.errors import ApiError
from stoneware.emulator.machine_spec import machine_name
from stoneware.emulator.service import Service
from stoneware.emulator.storage.records import PROJECT, bucket_key
from stoneware.emulator.store import Record
from stoneware.emulator.tokens.instances import INSTANCE

_UPLOAD = "storage.objects.insert"
#: The methods that are served to instances.
SERVED = frozenset(
    {
        *("storage.objects.get", "storage.objects.list", _UPLOAD),
        "secretmanager.projects.locations.secrets.versions.access",
        "secretmanager.projects.secrets.versions.access",
    }
)
LARGEST = 16 << 30  # bytes of an object that an instance uploads
ROOM = 1 << 30  # bytes of the state's file system that instances leave free
OBJECTS = 100_000  # in a bucket; beyond that instances add none
RATE, BURST = 50.0, 1000.0  # requests of an instance: in a second, and at once
_ACCOUNTS = 4096  # machines that are counted, more than there can be
_CHALLENGE = 'Bearer realm="https://accounts.google.com/"'


@dataclass
class _Account:
    requests: float = BURST
    at: float = 0.0


@dataclass
class Accounts:
    """How much each machine asks."""

    clock: Callable[[], float] = time.monotonic
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def charge(self, machine: str) -> None:
        """Count a request. Raises ApiError (429) when there have been too many lately."""
        now = self.clock()
        # Machines come and go with new names; what is counted of them must not fill the memory.
        if machine not in self._accounts and len(self._accounts) >= _ACCOUNTS:
            self._accounts.clear()
        account = self._accounts.setdefault(machine, _Account(at=now))
        account.requests = min(BURST, account.requests + (now - account.at) * RATE)
        account.at = now
        if account.requests < 1:
            raise ApiError(
                429, "rateLimitExceeded", "This instance asks too much.", headers={"Retry-After": "1"}
            )
        account.requests -= 1


class Access:
    """Decides on requests of machines; each by the name of the machine that its connection comes from."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tokens = service.tokens

    def check(self, machine: str, method: Method, query: Mapping[str, Any], bearer: str) -> None:
        """Raise ApiError (401, 403) for a request that an instance may not make.

        The token must be that of the instance itself, and have one of the scopes that Google asks for; what
        is asked for must be of its project.
        """
        if method.id not in SERVED:
            why = f"{method.id} is not served to instances, which reach objects and payloads of secrets only."
            raise ApiError(403, "forbidden", why)
        record = self._token(machine, bearer)
        if not set(method.scopes) & set(record["scope"].split()):
            raise _without_scope(method)
        project = str(record[INSTANCE]).split("/")[1]
        if not self._is_of(project, query):
            why = f"{record['email']} does not have {method.id} access to this resource of another project."
            raise ApiError(403, "forbidden", why)

    def _token(self, machine: str, bearer: str) -> Record:
        if not bearer:
            why = (
                "Request is missing required authentication credential. Expected OAuth 2 access token, login "
                "cookie or other valid authentication credential."
            )
            raise ApiError(401, "required", why, headers={"WWW-Authenticate": _CHALLENGE})
        record = self._tokens.known(bearer) or {}
        if machine_name(record.get(INSTANCE, "/")) != machine or record["expires"] <= self._tokens.clock():
            why = "Request had invalid authentication credentials: no token of this instance, or expired."
            headers = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
            raise ApiError(401, "authError", why, headers=headers)
        return record

    def _is_of(self, project: str, query: Mapping[str, Any]) -> bool:
        """Say whether a resource is of a project, or not there at all."""
        if "bucket" in query:
            bucket = self._service.store.get(bucket_key(query["bucket"]))
            return bucket is None or bucket[PROJECT] == project
        record = self._service.store.get(f"projects/{project}") or {}
        # A project has a number too, which clients may name it by.
        return str(query["name"]).split("/")[1] in (project, record.get("id"))

    def check_upload(self, method: Method, query: Mapping[str, Any], request: web.Request) -> None:
        """Raise ApiError for an upload for which there is no room, or whose size nobody knows."""
        if method.id != _UPLOAD or not request.body_exists:
            return
        size = request.content_length
        # Without its size it is not known whether there is room.
        if size is None:
            raise ApiError(411, "required", "An instance says how long its uploads are (Content-Length).")
        if size > LARGEST:
            raise ApiError(413, "uploadTooLarge", f"An upload of an instance has {LARGEST} bytes at most.")
        if shutil.disk_usage(self._service.store.root).free - size < ROOM:
            raise errors.unavailable("there is no room for it on the computer that the emulator runs on")
        if self._service.store.count(f"{bucket_key(query['bucket'])}/o") >= OBJECTS:
            raise ApiError(
                429, "rateLimitExceeded", f"The bucket has {OBJECTS} objects; no instance adds more."
            )


def _without_scope(method: Method) -> ApiError:
    headers = {
        "WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{" ".join(method.scopes)}"'
    }
    if method.id.startswith("storage."):
        return ApiError(403, "forbidden", "Provided scope(s) are not authorized", headers=headers)
    why = "Request had insufficient authentication scopes."
    return ApiError(403, "insufficientPermissions", why, headers=headers)
