"""One large file into an object of the bucket, in pieces, and on from where a killed command ended.

The session of an upload is noted next to the file. Google keeps it for a week, and takes nothing for it.
"""

from __future__ import annotations

import base64
import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from stoneware.errors import StonewareError
from stoneware.files import write_json
from stoneware.platforms.google import errors
from stoneware.platforms.google.api import document_of
from stoneware.platforms.google.bucket import Bucket
from stoneware.records import whole

_PIECE = 8 << 20  # bytes of a request; a multiple of 256 KiB
_BLOCK = 1 << 20
_PATIENCE = 120.0  # seconds without any byte that arrives
_RANGE = re.compile(r"bytes=0-(\d{1,15})")
_DONE, _INCOMPLETE, _GONE = (200, 201), 308, (404, 410)
_AGAIN = (0, _INCOMPLETE, 408, 429, 500, 502, 503, 504, *_GONE)  # 0: no reply
_SESSIONS = 3  # that one run begins in the place of forgotten ones

Progress = Callable[[int, int], None]


class Upload:
    """A file that becomes an object. `note`: the file that the session is noted in."""

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        path: Path,
        note: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = _PATIENCE,
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._path = path
        self._note = note
        self._sleep = sleep
        self._patience = patience
        self._what = f"upload {bucket.url(name)}"

    def run(self, progress: Progress) -> None:
        """Send what is missing, and check that what arrived is what was sent. Raises StonewareError."""
        size, checksum = self._path.stat().st_size, _checksum(self._path)
        url = self._session(size, checksum)
        with self._path.open("rb") as stream:
            made = self._send(url, stream, size, progress)
        if made.get("crc32c") != checksum:
            # Removed, for the next push would take it for whole.
            self._bucket.remove(self._name)
            raise errors.CloudError(
                f"cannot {self._what}: its checksum is wrong",
                details=f"It was sent with {checksum} and is there with {made.get('crc32c')}.",
                resolution="run the command again",
            )

    def _session(self, size: int, checksum: str) -> str:
        """Return the session that sends this file, a new one where none is noted."""
        wanted = {"object": self._bucket.url(self._name), "size": size, "crc32c": checksum}
        noted = whole(self._note)
        # Pieces of a file that was written again would make an object of two.
        if isinstance(url := noted.pop("session", None), str) and noted == wanted:
            return url
        return self._begin(wanted)

    def _begin(self, wanted: Mapping[str, Any]) -> str:
        url = self._bucket.session(self._name, int(wanted["size"]))
        write_json(self._note, {**wanted, "session": url}, 0o600)
        return url

    def _send(self, url: str, stream: IO[bytes], size: int, progress: Progress) -> dict[str, Any]:
        """Send pieces until the object is whole, and return what Google says of it."""
        at: int | None = None  # not known: it is asked for
        most, sessions = -1, 0
        until, pause = time.monotonic() + self._patience, 0.5
        while True:
            status, reply, failure = self._put(url, stream, at, size)
            if status in _DONE:
                progress(size, size)
                return reply
            if status == _INCOMPLETE:
                asked, at = at is None, int(reply["arrived"])
                progress(at, size)
                if at > most:
                    most, until, pause = at, time.monotonic() + self._patience, 0.5
                    continue
                # That was known: only the piece that is sent next can change it.
                if asked and at < size and time.monotonic() < until:
                    continue
                failure = self._stuck(at, size)
            if failure is not None and (status not in _AGAIN or time.monotonic() + pause > until):
                raise failure
            # Google forgets a session after a week; in a new one nothing has arrived yet.
            if status in _GONE:
                if sessions == _SESSIONS and failure is not None:
                    raise failure
                url, most, sessions = self._begin(whole(self._note)), -1, sessions + 1
            self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            # Asked for, not assumed: a piece may have arrived in part though its reply did not.
            pause, at = min(pause * 1.6, 10.0), None

    def _stuck(self, arrived: int, size: int) -> StonewareError:
        return errors.CloudError(
            f"cannot {self._what}: no more of it arrives",
            details=f"{arrived} of {size} bytes are there, and the server takes none of those that follow.",
            resolution="run the command again: it goes on from there",
        )

    def _put(
        self, url: str, stream: IO[bytes], at: int | None, size: int
    ) -> tuple[int, dict[str, Any], StonewareError | None]:
        """Send the piece at a place, or ask what has arrived; return status (0: none), reply and error."""
        said, piece = f"bytes */{size}", b""
        if at is not None:
            stream.seek(at)
            piece = stream.read(_PIECE)
            said = f"bytes {at}-{at + len(piece) - 1}/{size}"
        try:
            reply = self._bucket.put(self._what, url, said, piece)
        except errors.UnreachableError as error:
            return 0, {}, error
        if reply.status_code == _INCOMPLETE:
            found = _RANGE.fullmatch(reply.headers.get("Range", ""))
            # Without the header nothing has arrived.
            return _INCOMPLETE, {"arrived": int(found[1]) + 1 if found else 0}, None
        document = document_of(reply)
        found_document = document if isinstance(document, dict) else {}
        if reply.status_code in _DONE:
            return reply.status_code, found_document, None
        failure = errors.of_response(self._what, reply.status_code, document, self._bucket.project)
        return reply.status_code, found_document, failure


def _checksum(path: Path) -> str:
    """Return the CRC32C of a file as Google writes it."""
    import google_crc32c

    found = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found = google_crc32c.extend(found, block)
    return base64.b64encode(found.to_bytes(4, "big")).decode()
