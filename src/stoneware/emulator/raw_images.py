"""Images made of a disk in an archive that is an object of a bucket: `rawDisk.source`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from stoneware.emulator import contents, errors
from stoneware.emulator.jobs import Job
from stoneware.emulator.prepare import KEPT
from stoneware.emulator.service import Call, Service
from stoneware.emulator.storage.contents import Contents
from stoneware.emulator.storage.records import CONTENT, object_key
from stoneware.emulator.store import Record
from stoneware.errors import InputError, StonewareError
from stoneware.platforms.instances import Computers
from stoneware.untrusted import raw_archive

_URL = re.compile(r"https://storage\.googleapis\.com/([^/?#]+)/([^?#]+)")
_FIELD = "resource.rawDisk.source"


def archive(service: Service, text: str) -> tuple[Record, Path]:
    """Return the object that a source names, and the file with what it holds. Raises ApiError (400, 404)."""
    found = _URL.fullmatch(text)
    if found is None:
        why = "The URL is malformed: it is https://storage.googleapis.com/BUCKET/OBJECT."
        raise errors.invalid(_FIELD, text, why)
    bucket, name = unquote(found[1]), unquote(found[2])
    record = service.store.get(object_key(bucket, name))
    if record is None:
        raise errors.ApiError(404, "notFound", f"The resource '{text}' was not found")
    return record, Contents(service.store.root).path(record[CONTENT])


def insert(service: Service, call: Call, key: str, record: Record) -> Record:
    """Return the operation in which an image that is noted already gets what is in its archive."""
    # Before the operation: what names no object is refused in the reply.
    source, file = archive(service, record["rawDisk"]["source"])
    service.store.put(key, record | {"archiveSizeBytes": source["size"]})
    operation = service.started(call, "insert", key, record["id"], working=True)
    computers, kept = _computers(service), contents.new_key()
    found: list[int] = []
    refused: list[errors.ApiError] = []

    def run() -> None:
        try:
            # Read without machines too, so that what Compute Engine would refuse is refused.
            size = computers.take_disk(file, kept) if computers else raw_archive.unpack(file, _nowhere)
            found.append(size)
        except InputError as error:
            why = " ".join(f"{error}. {error.details} {error.resolution}".split())
            refused.append(errors.invalid(_FIELD, record["rawDisk"]["source"], why))

    def ended(failure: errors.ApiError | None) -> None:
        failure = failure or next(iter(refused), None)
        with service.store.transaction():
            made = service.store.get(key)
            if made is not None and failure is None:
                size = max(found[0] // raw_archive.GIB, int(made.get("diskSizeGb") or 0))
                more = {KEPT: kept} if computers else {}
                service.store.put(key, made | more | {"status": "READY", "diskSizeGb": str(size)})
            elif made is not None:
                service.store.remove(key)
            if made is None and computers is not None:  # deleted meanwhile
                contents.release(service, key, {"kind": "compute#image", KEPT: kept})
            service.operations.finish(call.operation(operation), failure)

    service.begin(Job(key, run, ended))
    return operation


def _computers(service: Service) -> Computers | None:
    try:
        return service.computers
    except StonewareError as error:
        raise errors.unavailable(f"no disk can be kept on this computer: {error}") from error


def _nowhere(_place: int, _piece: bytes) -> None:
    """Keep nothing: an emulator of records alone only looks whether it is a disk."""
