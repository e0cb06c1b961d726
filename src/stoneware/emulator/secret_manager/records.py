"""Records of secrets and versions: their keys, names, etags and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stoneware.emulator import errors, values
from stoneware.emulator.errors import ApiError
from stoneware.emulator.records import DatedRecords
from stoneware.emulator.service import shown
from stoneware.emulator.store import Record

_CHANGES = "x-changes"  # of a record: how often it was changed
LATEST = "x-latest"  # of a secret: the number of its newest version
_NAME = re.compile(r"projects/([^/]+)/(?:locations/[^/]+/)?secrets/([^/]+)(?:/versions/([^/]+))?")


class Records(DatedRecords):
    """The secrets of a store."""

    def place(self, text: str) -> str:
        """Return where something is, its project by name; a client may say its number. Raises ApiError."""
        _, project, *rest = text.split("/")
        key = f"projects/{project}"
        if self.store.get(key) is None:
            found = (one for one, record in self.store.under("projects") if record.get("id") == project)
            key = next(found, "")
            if not key:
                raise missing(f"Project [{project}]")
        return "/".join([key, *rest])

    def secret(self, name: str) -> tuple[str, Record]:
        """Return the key and record of a secret. Raises ApiError (404)."""
        found = _NAME.fullmatch(name)
        key = self.place(name) if found else ""
        record = self.store.get(key) if found and not found[3] else None
        # Nothing watches the clock: what has expired goes when it is asked for.
        if record is not None and self._expired(record):
            self.forget(key)
            record = None
        if record is None:
            raise missing(f"Secret [{name}]")
        return key, record

    def _expired(self, record: Record) -> bool:
        when = record.get("expireTime")
        return when is not None and datetime.fromisoformat(when).timestamp() <= self.clock()

    def forget(self, key: str) -> None:
        """Remove a secret and its versions."""
        for one, _ in self.store.under(f"{key}/versions"):
            self.store.remove(one)
        self.store.remove(key)

    def version(self, name: str) -> tuple[str, Record]:
        """Return the key and record of a version; its number may be `latest`, or an alias. Raises 404."""
        secret, _, number = name.rpartition("/versions/")
        key, record = self.secret(secret)
        if number == "latest":
            number = str(record[LATEST])
        number = record.get("versionAliases", {}).get(number, number)
        place = f"{key}/versions/{number}"
        found = self.store.get(place)
        if found is None:
            raise missing(f"Secret Version [{name}]")
        return place, found

    def put(self, key: str, record: Record) -> Record:
        """Keep a record, whose etag is then another one, and return it as the API shows it."""
        record[_CHANGES] = record.get(_CHANGES, 0) + 1
        self.store.put(key, record)
        return self.show(key, record)

    def show(self, key: str, record: Record) -> Record:
        """Return a record as the API shows it: named by the project's number."""
        _, project, *rest = key.split("/")
        number = (self.store.get(f"projects/{project}") or {})["id"]
        return shown(record) | {"name": "/".join(["projects", number, *rest]), "etag": etag(record)}


def etag(record: Mapping[str, Any]) -> str:
    """Return what changes with each change of a record; the quotes are part of it."""
    # With its time: a secret that is made again has other etags.
    made = values.fingerprint([record["createTime"], record[_CHANGES]])
    return f'"{made.rstrip("=")}"'


def check_etag(record: Mapping[str, Any], wanted: object) -> None:
    """Raise ApiError (400) for an etag, if there is one, that is not the current one."""
    if wanted and wanted != etag(record):
        raise failed("The provided etag does not match the current one.")


def missing(what: str) -> ApiError:
    """Return the error for what is not there."""
    return ApiError(404, "notFound", f"{what} not found.")


def failed(why: str) -> ApiError:
    """Return the error for a state in which something cannot be done."""
    return ApiError(400, "failedPrecondition", why)


def wrong(why: str) -> ApiError:
    """Return the error for a request that makes no sense."""
    return errors.ApiError(400, "invalid", why)
