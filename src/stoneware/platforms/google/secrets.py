"""Secrets in Secret Manager: versions are pinned, and values are in no state, metadata, argument or log."""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from stoneware.errors import InputError
from stoneware.model import names as rules
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import SecretMount, is_elsewhere
from stoneware.platforms import telling
from stoneware.platforms.google import errors, names
from stoneware.platforms.google.api import Api, last
from stoneware.platforms.google.hardware import hardware_for

_KEPT = 10  # values of each secret: machines that are not replaced yet, or that return, have theirs
_SERVICE = "secretmanager"
_PAGE = 100
_READER = "roles/secretmanager.secretAccessor"
# Without it a policy with conditions comes without them, and would be written back so:
# https://cloud.google.com/iam/docs/policies#versions
_POLICY_VERSION: dict[str, Any] = {"options.requestedPolicyVersion": 3}


class GoogleSecrets:
    """The secrets of a project. A version is the number that Secret Manager gives it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._opened: set[tuple[str, str]] = set()  # secrets, and accounts that may read them

    def put_secret(self, name: str, value: bytes) -> str:
        """Keep a secret and return its version; the version of a value that is there already is that."""
        known = self.secret_version(name, value)
        if known is not None:
            return known
        what = f"put the secret {name}"
        payload = {"payload": {"data": base64.b64encode(value).decode()}}
        try:
            # Not repeated after a lost reply: that would be a second version.
            made = self._ask("POST", f"{_path(name)}:addVersion", what, payload)
        except errors.MissingError:
            self._make(name, what)
            made = self._ask("POST", f"{_path(name)}:addVersion", what, payload)
        self._drop_old(name)
        return last(made["name"])

    def _make(self, name: str, what: str) -> None:
        body = {
            "replication": {"automatic": {}},
            "labels": {**self.api.settings.labels, names.MARK: "secret"},
        }
        query = {"secretId": names.secret_id(name)}
        with contextlib.suppress(errors.TakenError):  # somebody else was as quick
            self.api.request(_SERVICE, "POST", "secrets", what, query=query, body=body)

    def secret_version(self, name: str, value: bytes) -> str | None:
        """Return the version of a secret that has this value, None where none that is kept has it."""
        _check(name)
        for version in self._versions(name):
            if hmac.compare_digest(self._value(name, version), value):
                return version
        return None

    def has_secret(self, name: str, version: str) -> bool:
        """Say whether the value that a secret had in some version is still kept."""
        if not is_elsewhere(name):
            _check(name)
        # `latest` or an alias is no version that stays what it is.
        if not version.isdecimal():
            return False
        what = f"look at the secret {name}"
        try:
            found = self.api.find(_SERVICE, f"{_path(name)}/versions/{version}", what)
        except errors.AccessError:
            # Of others: that machines may fetch it says nothing about who looks.
            if not is_elsewhere(name):
                raise
            return True
        return found is not None and found.get("state", "ENABLED") == "ENABLED"

    def destroy_secret(self, name: str) -> None:
        """Forget a secret; a missing one is no error."""
        with contextlib.suppress(errors.MissingError):
            self._ask("DELETE", _path(name), f"remove the secret {name}")

    def check_secrets(self, mounts: Iterable[SecretMount]) -> None:
        """Raise InputError where a secret does not exist."""
        for name in sorted({mount.secret for mount in mounts if not mount.elsewhere}):
            if self.api.find(_SERVICE, _path(name), f"look at the secret {name}") is None:
                raise InputError(
                    f"there is no secret {name!r}",
                    resolution="stoneware up    # puts a cluster's secrets before it makes machines",
                )

    def let_fetch_secrets(self, specs: Iterable[MachineSpec]) -> None:
        """Let the service accounts of machines read the machines' secrets; who else may stays as it is.

        Who reads those that others keep is theirs to say.
        Where we may not say who may, nothing is done: an operator may have done so for the whole project.
        """
        wanted: dict[str, set[str]] = {}
        for spec in specs:
            account = hardware_for(spec, self.api.settings).service_account
            for use in spec.secrets if account else ():
                if use.elsewhere:
                    continue
                wanted.setdefault(use.secret, set()).add(str(account))
        for name, accounts in sorted(wanted.items()):
            missing = {account for account in accounts if (name, account) not in self._opened}
            if not missing:
                continue
            try:
                errors.until_unchanged(partial(self._open, name, missing))
            except errors.AccessError as error:
                telling.tell(f"{error.brief}; {', '.join(sorted(missing))} needs {_READER} for it")
            self._opened |= {(name, account) for account in missing}

    def _open(self, name: str, accounts: set[str]) -> None:
        what = f"let machines read the secret {name}"
        policy = self.api.get(_SERVICE, f"{_path(name)}:getIamPolicy", what, **_POLICY_VERSION)
        bindings = [dict(each) for each in policy.get("bindings") or ()]
        # A binding with a condition is another one.
        own = [each for each in bindings if each.get("role") == _READER and "condition" not in each]
        members = {member for each in own for member in each.get("members") or ()}
        lacking = {f"serviceAccount:{account}" for account in accounts} - members
        if not lacking:
            return
        others = [each for each in bindings if each not in own]
        policy["bindings"] = [*others, {"role": _READER, "members": sorted(members | lacking)}]
        # Again after a lost reply: the policy's etag keeps what somebody else has written.
        path, body = f"{_path(name)}:setIamPolicy", {"policy": policy}
        self.api.request(_SERVICE, "POST", path, what, body=body, repeat=True)

    def _versions(self, name: str) -> list[str]:
        """Return the versions of a secret that have a value, the newest first."""
        try:
            return list(self._listed(name))
        except errors.MissingError:
            return []

    def _listed(self, name: str) -> Iterator[str]:
        token = ""
        while True:
            query: dict[str, Any] = {"pageSize": _PAGE} | ({"pageToken": token} if token else {})
            page = self.api.get(_SERVICE, f"{_path(name)}/versions", f"look at the secret {name}", **query)
            for found in page.get("versions") or ():
                if found.get("state", "ENABLED") == "ENABLED":
                    yield last(found["name"])
            token = str(page.get("nextPageToken") or "")
            if not token:
                return

    def _value(self, name: str, version: str) -> bytes:
        path = f"{_path(name)}/versions/{version}:access"
        found = self.api.get(_SERVICE, path, f"read the secret {name}")
        return base64.b64decode(str((found.get("payload") or {}).get("data") or ""))

    def _drop_old(self, name: str) -> None:
        for version in self._versions(name)[_KEPT:]:
            self._ask("POST", f"{_path(name)}/versions/{version}:destroy", f"forget old values of {name}", {})

    def _ask(self, method: str, path: str, what: str, body: Any = None) -> dict[str, Any]:
        return self.api.request(_SERVICE, method, path, what, body=body)


def _path(name: str) -> str:
    return f"/{name}" if is_elsewhere(name) else f"secrets/{names.secret_id(name)}"


def _check(name: str) -> None:
    if not rules.SECRET.allows(name):
        raise InputError(
            f"{name!r} is not a secret's name",
            details=f"A name has {rules.SECRET.words}.",
            resolution="rename it where it is declared",
        )
