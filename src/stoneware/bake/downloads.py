"""What ADD fetches from a URL: kept by URL, asked for again with its ETag, and not at all with a checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoneware import __version__
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import locked, put_in_place, sha256_hex, write_json
from stoneware.machinefile.context import Source
from stoneware.machinefile.recipe import CopyStep
from stoneware.records import whole

if TYPE_CHECKING:
    from http.client import HTTPResponse

_BLOCK = 1 << 20  # bytes read at once
_TIMEOUT = 60.0  # seconds without a byte
_NOT_MODIFIED = 304


@dataclass(frozen=True)
class Downloads:
    """A directory of downloaded files. `offline` takes what is there and asks no server."""

    directory: Path
    offline: bool = False

    def path(self, url: str) -> Path:
        """Return where the content of a URL is."""
        return self.directory / sha256_hex(url.encode())

    def of(
        self, step: CopyStep, sources: Iterable[Source], location: Callable[[int], str]
    ) -> tuple[tuple[str, str], ...]:
        """Return each URL of a step with its content's digest, fetched where needed. Raises InputError."""
        urls = [source.text for source in sources if source.kind == "url"]
        return tuple((url, self._digest(url, step.checksum, location(step.line))) for url in urls)

    def _digest(self, url: str, checksum: str, where: str) -> str:
        expected = checksum.removeprefix("sha256:")
        known = self._known(url)
        if known and (self.offline or known["digest"] == expected):
            return str(known["digest"])
        # A plan fetches nothing: the checksum stands for content that is not here yet.
        if self.offline:
            return expected
        self.directory.mkdir(exist_ok=True, mode=0o700)
        # One bake at a time fetches a URL, so what a killed one has left of it is the next one's to replace.
        with locked(self.path(url).with_suffix(".lock")):
            digest = self._fetch(url, self._known(url), where)
        if expected and digest != expected:
            raise InputError(
                f"the content of {url} does not match --checksum",
                details=f"expected sha256:{expected}\nfound    sha256:{digest}",
                resolution="check where the file comes from before you change the checksum",
                location=where,
            )
        return digest

    def _known(self, url: str) -> dict[str, Any] | None:
        document = whole(self.path(url).with_suffix(".json"))
        return document if document and self.path(url).exists() else None

    def _fetch(self, url: str, known: dict[str, Any] | None, where: str) -> str:
        # The HTTP client took a fifth of a bake that builds nothing, and only ADD of a URL needs it.
        import http.client
        import urllib.error
        import urllib.request

        headers = {"User-Agent": f"stoneware/{__version__}"}
        if known:
            headers |= {
                header: known[key]
                for header, key in (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))
                if known.get(key)
            }
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- the parser lets http(s) through only
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:  # noqa: S310
                return self._keep(url, reply)
        except urllib.error.HTTPError as error:
            error.close()  # it is a reply as well
            if error.code == _NOT_MODIFIED and known:
                return str(known["digest"])
            raise self._failed(url, f"the server answered {error.code} {error.reason}", where) from error
        except http.client.HTTPException as error:  # the server has not kept to HTTP, or hung up too early
            raise self._failed(url, str(error) or type(error).__name__, where) from error
        except OSError as error:
            raise self._failed(url, str(getattr(error, "reason", error)), where) from error

    def _keep(self, url: str, reply: HTTPResponse) -> str:
        """Write a reply to the disk as it comes, and return its digest. Raises OSError, HTTPException."""
        from http.client import IncompleteRead

        digest, staged = hashlib.sha256(), self.path(url).with_suffix(".partial")
        document = self.path(url).with_suffix(".json")
        try:
            with staged.open("wb") as stream:
                while block := reply.read(_BLOCK):
                    digest.update(block)
                    stream.write(block)
                if reply.length:  # what Content-Length says is missing; a read in blocks does not tell
                    raise IncompleteRead(b"", reply.length)
                document.unlink(missing_ok=True)  # it must not be taken for that of the new content
                put_in_place(stream, staged, self.path(url), 0o600)
        finally:
            staged.unlink(missing_ok=True)
        headers = reply.headers
        note = {
            "url": url,
            "digest": digest.hexdigest(),
            "etag": headers.get("ETag"),
            "modified": headers.get("Last-Modified"),
        }
        # Last: content that a kill has left without its note is fetched again.
        write_json(document, note)
        return digest.hexdigest()

    def _failed(self, url: str, why: str, where: str) -> InputError:
        return InputError(
            f"cannot download {url}", details=why, resolution="check the URL and the network", location=where
        )
