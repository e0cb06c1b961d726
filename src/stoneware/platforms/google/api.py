"""Google's APIs over one session: requests that are repeated where that is safe, and operations awaited.

Compute Engine and Secret Manager are asked in their REST form, which needs no library but google-auth: to
import google-cloud-compute takes five seconds of a processor, longer than all of our own work in a bake.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stoneware.errors import StonewareError
from stoneware.platforms.google import errors
from stoneware.platforms.google.looks import Looks
from stoneware.platforms.google.settings import Settings
from stoneware.untrusted.visible import visible

if TYPE_CHECKING:
    import requests
    from google.auth.credentials import Credentials

# Secret Manager takes no narrower one; what may be done with it is said by IAM.
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_BASES = {
    "compute": ("https://compute.googleapis.com", "/compute/v1/"),
    "storage": ("https://storage.googleapis.com", "/storage/v1/"),
    "secretmanager": ("https://secretmanager.googleapis.com", "/v1/"),
    "dns": ("https://dns.googleapis.com", "/dns/v1/"),
    "serviceusage": ("https://serviceusage.googleapis.com", "/v1/"),
    "cloudresourcemanager": ("https://cloudresourcemanager.googleapis.com", "/v1/"),
}
_PASSING = {429, 500, 502, 503, 504}
_NOT_DONE = {429, 503}  # what a request that changes something may be repeated after, though it has no id
_PATIENCE = 60.0  # seconds that a request is repeated
_OPERATION = 1800.0  # seconds that an operation may take
_TIMEOUT = 150.0  # seconds for a reply: an operation's `wait` takes up to two minutes
_BRIEFLY = 3.0  # the same, for what is only told
_CUSTOM = re.compile(r"(?:[a-z0-9]+-)?custom-.*")
_SHOWN = 300  # characters of a reply that is none
AT_ONCE = 32  # connections, and questions at the same time

Sleep = Callable[[float], None]


class Api:
    """Google's APIs, as the settings say; nothing is asked before the first request."""

    def __init__(self, settings: Settings, *, sleep: Sleep = time.sleep, patience: float = _PATIENCE) -> None:
        self.settings = settings
        self._sleep = sleep
        self._patience = patience
        self._credentials: Credentials | None = None
        self._session: requests.Session | None = None
        self.requests = 0  # how many have been sent
        self.changes = 0  # how many operations of Compute Engine have been asked for
        self.looks = Looks()
        self._timeout = _TIMEOUT

    # -- requests ------------------------------------------------------------------------------------------

    def get(self, service: str, path: str, what: str, **query: Any) -> dict[str, Any]:
        """Return what is at a path below the project. Raises MissingError and other StonewareErrors."""
        return self.request(service, "GET", path, what, query=query)

    def find(self, service: str, path: str, what: str, **query: Any) -> dict[str, Any] | None:
        """Return what is at a path, or None where there is nothing."""
        try:
            return self.get(service, path, what, **query)
        except errors.MissingError:
            return None

    def items(self, service: str, path: str, what: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page; of an aggregated list those of all scopes."""
        token = ""
        while True:
            page = self.get(service, path, what, **query | ({"pageToken": token} if token else {}))
            yield from _items(page.get("items"))
            token = str(page.get("nextPageToken") or "")
            if not token:
                return

    def operate(
        self, method: str, path: str, what: str, body: Mapping[str, Any] | None = None, **query: Any
    ) -> dict[str, Any]:
        """Have Compute Engine do something, wait until it is done, and return the operation.

        The request has an id of its own, so that one whose reply is lost is not done twice.
        """
        # Before it is sent: with a lost reply the change may be there all the same.
        self.changes += 1
        given = query | {"requestId": str(uuid.uuid4())}
        return self.wait(self.request("compute", method, path, what, query=given, body=body), what)

    def wait(self, operation: Mapping[str, Any], what: str) -> dict[str, Any]:
        """Wait for an operation of Compute Engine, and return it as it is in the end."""
        until = time.monotonic() + _OPERATION
        found = dict(operation)
        while found.get("status") != "DONE":
            if time.monotonic() > until:
                raise errors.CloudError(
                    f"cannot {what}: the operation {found.get('name')} does not end",
                    resolution=f"gcloud compute operations describe {found.get('name')}",
                )
            if not isinstance(found.get("name"), str):
                raise errors.CloudError(
                    f"cannot {what}: the reply is no operation",
                    details=visible(json.dumps(found))[:_SHOWN],
                    resolution="stoneware doctor --platform google",
                )
            # Google answers after two minutes at most, done or not, so this needs no pause.
            path = f"{_scope(found)}/operations/{found['name']}/wait"
            found = self.request("compute", "POST", path, what, repeat=True)
        failure = errors.of_operation(what, found, self.settings.project)
        if failure is not None:
            raise failure
        return found

    def request(
        self,
        service: str,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        repeat: bool = False,
    ) -> dict[str, Any]:
        """Send one request and return the reply's document. A path without / in front is below the project.

        `repeat`: it may be sent again though it may have been done, as those that only read may.
        """
        base, prefix = _BASES[service]
        below = path[1:] if path.startswith("/") else f"projects/{self.settings.project}/{path}"
        url = f"{self.settings.endpoint or base}{prefix}{below}"
        # A request with the id of an earlier one is not done twice: the reply is that one's operation.
        again = repeat or method == "GET" or "requestId" in (query or {})
        until = time.monotonic() + self._patience
        pause = 0.5
        while True:
            failure, passing = self._attempt(method, url, what, query, body, again=again)
            if isinstance(failure, dict):
                return failure
            if not passing or time.monotonic() + pause > until:
                raise failure
            # Spread, so that commands that were refused together do not come back together.
            self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            pause = min(pause * 1.6, 10.0)

    def _attempt(
        self,
        method: str,
        url: str,
        what: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        *,
        again: bool,
    ) -> tuple[dict[str, Any] | StonewareError, bool]:
        """Return the reply's document, or the error and whether it may pass."""
        session = self.session(what)
        # Late, for the extra stoneware[google] may be missing: `session` has told that by now.
        import requests
        from google.auth import exceptions

        self.requests += 1
        try:
            reply = session.request(method, url, params=dict(query or {}), json=body, timeout=self._timeout)
        except (exceptions.TransportError, requests.RequestException) as error:
            # A connection that broke may have carried the request: without an id it is not sent again.
            return errors.unreachable(what, self.settings.endpoint or url.split("/")[2], error), again
        except exceptions.GoogleAuthError as error:
            return errors.no_credentials(what, error), False
        document = document_of(reply)
        if reply.ok and isinstance(document, dict):
            return document, False
        failure = errors.of_response(what, reply.status_code, document, self.settings.project)
        # A limit of rate is 403 as often as 429, so its word counts.
        limited = getattr(failure, "reason", "") in {"rateLimitExceeded", "userRateLimitExceeded"}
        return failure, limited or reply.status_code in (_PASSING if again else _NOT_DONE)

    def put(self, url: str, what: str, data: bytes, headers: Mapping[str, str]) -> requests.Response:
        """Send bytes to the session of an upload, once, and return the reply, whatever it says."""
        session = self.session(what)
        import requests
        from google.auth import exceptions

        self.requests += 1
        try:
            # 308 is how a session says how far it is, and no redirect to follow.
            return session.request(
                "PUT", url, data=data, headers=dict(headers), timeout=_TIMEOUT, allow_redirects=False
            )
        except (exceptions.TransportError, requests.RequestException) as error:
            raise errors.unreachable(what, url.split("/")[2], error) from None
        except exceptions.GoogleAuthError as error:
            raise errors.no_credentials(what, error) from None

    @contextlib.contextmanager
    def briefly(self, timeout: float = _BRIEFLY) -> Iterator[None]:
        """Ask once each, and wait for no longer than this: for what a command does besides."""
        before = self._patience, self._timeout
        self._patience, self._timeout = 0.0, timeout
        try:
            yield
        finally:
            self._patience, self._timeout = before

    def session(self, what: str) -> requests.Session:
        """Return the session of all requests, for clients that send their own. Raises as `get`."""
        if self._session is None:
            try:
                from google.auth.transport.requests import AuthorizedSession
                from requests.adapters import HTTPAdapter
            except ImportError as error:
                raise errors.missing_extra(error) from None
            session = AuthorizedSession(self.credentials(what))
            session.headers["User-Agent"] = "stoneware"
            session.hooks["response"].append(_read_of_error)
            for scheme in ("https://", "http://"):
                # Its own ten connections are fewer than the machines that are asked together.
                session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=AT_ONCE))
            session.trust_env = not self.settings.endpoint  # an emulator is asked by no proxy
            self._session = session
            # The collector of garbage complains about a session that is left open.
            weakref.finalize(self, session.close)
        return self._session

    def credentials(self, what: str) -> Credentials:
        """Return application default credentials; any token for an emulator."""
        if self._credentials is None:
            try:
                import google.auth
                from google.auth import exceptions
                from google.oauth2 import credentials
            except ImportError as error:
                raise errors.missing_extra(error) from None
            if self.settings.endpoint:
                self._credentials = credentials.Credentials(token="emulator")  # noqa: S106 - it takes any
            else:
                try:
                    self._credentials, _ = google.auth.default(scopes=[_SCOPE])
                except exceptions.GoogleAuthError as error:
                    raise errors.no_credentials(what, error) from None
        return self._credentials

    def offers(self, zone: str, collection: str, name: str) -> bool:
        """Say whether a zone has a machine type (`machineTypes`) or a disk type (`diskTypes`)."""
        if collection == "machineTypes" and _CUSTOM.fullmatch(name):
            return True  # machine types of one's own measure are in no list
        what = f"look whether {zone} has {name}"
        try:
            return self.find("compute", f"zones/{zone}/{collection}/{name}", what) is not None
        except errors.AccessError:
            # Who may make machines need not be allowed to look; Google says it then when one is made.
            return True

    # -- what is asked often -------------------------------------------------------------------------------

    def zones(self) -> tuple[str, ...]:
        """Return the zones that machines may be in: those of the settings, else all of the region."""
        if self.settings.zones:
            return self.settings.zones
        region = self.get(
            "compute", f"regions/{self.settings.region}", f"read the region {self.settings.region}"
        )
        found = region.get("zones")
        listed = found if isinstance(found, list) else []
        return tuple(sorted(str(zone).rsplit("/", 1)[-1] for zone in listed))


def last(reference: object) -> str:
    """Return the name at the end of a reference: `…/zones/europe-west1-b`."""
    return str(reference or "").rsplit("/", 1)[-1]


def _scope(operation: Mapping[str, Any]) -> str:
    for kind in ("zone", "region"):
        if operation.get(kind):
            return f"{kind}s/{last(operation[kind])}"
    return "global"  # Google leaves both out of a global operation


def _items(found: object) -> Iterator[dict[str, Any]]:
    if isinstance(found, list):
        yield from (item for item in found if isinstance(item, dict))
    elif isinstance(found, dict):  # an aggregated list: by scope
        for scope in found.values():
            if isinstance(scope, dict):
                for listed in scope.values():
                    yield from _items(listed) if isinstance(listed, list) else ()


def document_of(reply: requests.Response) -> object:
    """Return the JSON document of a reply; what is none as Google's error would have it."""
    try:
        return reply.json() if reply.content else {}
    except ValueError:
        return {"error": {"message": reply.text[:500]}}


def _read_of_error(reply: requests.Response, *_: object, **__: object) -> None:
    """Read an error's body at once, so that its connection can be used again.

    Who downloads a stream raises at its first line, and leaves the connection to the collector of garbage.
    """
    if reply.status_code >= 400:
        reply.content  # noqa: B018
