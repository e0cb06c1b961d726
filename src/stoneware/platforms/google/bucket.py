"""The bucket: documents that several people write, each only if it is as they read it; and files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stoneware.dataclass import dataclass
from stoneware.errors import InputError, StonewareError
from stoneware.files import canonical_json
from stoneware.platforms.google import errors
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.settings import Settings
from stoneware.untrusted.bounded import BoundsError, bounded_json
from stoneware.untrusted.visible import LINES, visible

if TYPE_CHECKING:
    import requests
    from google.cloud import storage

LARGEST = 64 << 20  # bytes of a document
NEW = 0  # the generation of an object that is not there
_NO_BUCKET = "bucket does not exist"  # Google's words: the status is that of an object that is not there
_SHOWN = 500  # characters of what Google says
_CHUNK = 16 << 20  # bytes of a large file that are sent at once

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Held:
    """What an object holds, and its generation, which another value will not have."""

    data: bytes
    generation: int


class Bucket:
    """Objects of one bucket. All methods raise StonewareError."""

    def __init__(self, api: Api, name: str = "") -> None:
        self.name = name or api.settings.bucket
        self._api = api
        self._client: storage.Client | None = None

    def url(self, name: str) -> str:
        """Return an object's address as machines have it."""
        return f"gs://{self.name}/{name}"

    def apart(self) -> Bucket:
        """Return the same bucket over a connection of its own, for another thread."""
        return Bucket(self._api, self.name)

    def read(self, name: str) -> Held | None:
        """Return what an object holds, or None where there is none."""

        def take() -> Held:
            blob = self._blob(name)
            data = self._data(blob)
            return Held(data, int(blob.generation or NEW))

        return self._if_there(f"read {self.url(name)}", take)

    def write(
        self,
        name: str,
        data: bytes,
        *,
        generation: int | None = None,
        kind: str = "application/json",
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Write an object and return its generation; `metadata` is what `listed` tells of it.

        `generation` is the one that it has to have now, NEW: none. Raises ChangedError where it has another.
        """
        with self._clear(f"write {self.url(name)}"):
            blob = self._blob(name)
            blob.metadata = dict(metadata) if metadata else None
            blob.upload_from_string(
                data, content_type=kind, if_generation_match=generation, checksum="crc32c"
            )
            return int(blob.generation or NEW)

    def remove(self, name: str, *, generation: int | None = None) -> bool:
        """Remove an object, and say whether it was there. Raises ChangedError as `write` does."""

        def remove() -> bool:
            self._blob(name).delete(if_generation_match=generation)
            return True

        return self._if_there(f"remove {self.url(name)}", remove) is not None

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects that begin so, sorted."""
        with self._clear(f"list {self.url(prefix)}"):
            listed = self._opened().list_blobs(self.name, prefix=prefix, fields="items(name),nextPageToken")
            return sorted(str(blob.name) for blob in listed)

    def listed(self, prefix: str) -> dict[str, dict[str, str]]:
        """Return the metadata of all objects whose names begin so, by their names."""
        with self._clear(f"list {self.url(prefix)}"):
            fields = "items(name,metadata),nextPageToken"
            found = self._opened().list_blobs(self.name, prefix=prefix, fields=fields)
            return {str(blob.name): dict(blob.metadata or {}) for blob in found}

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of all objects whose names begin so, by their names."""
        with self._clear(f"list {self.url(prefix)}"):
            fields = "items(name,size),nextPageToken"
            found = self._opened().list_blobs(self.name, prefix=prefix, fields=fields)
            return {str(blob.name): int(blob.size or 0) for blob in found}

    def has(self, name: str) -> bool:
        """Say whether there is an object of that name."""
        with self._clear(f"look for {self.url(name)}"):
            return bool(self._blob(name).exists())

    def upload(self, name: str, path: Path, *, kind: str = "application/octet-stream") -> None:
        """Write a file's content into an object, in pieces where it is large."""
        with self._clear(f"upload {self.url(name)}"):
            self._blob(name, _CHUNK).upload_from_filename(str(path), content_type=kind, checksum="crc32c")

    def session(self, name: str, size: int, *, kind: str = "application/gzip") -> str:
        """Begin the upload of so many bytes into an object, and return where `put` sends them to."""
        with self._clear(f"upload {self.url(name)}"):
            return str(self._blob(name).create_resumable_upload_session(content_type=kind, size=size))

    def put(self, what: str, session: str, said: str, data: bytes) -> requests.Response:
        """Send bytes of an upload: `said` is which ones they are, as `bytes 0-99/1000`."""
        return self._api.put(session, what, data, {"Content-Range": said})

    @property
    def project(self) -> str:
        """Return the project that asks."""
        return self._api.settings.project

    def download(self, name: str, path: Path, *, most: int | None = None) -> bool:
        """Write an object's content into a file, and say whether it was there.

        `most` bytes are taken; the object that is measured is the one that is read.
        """

        def take() -> bool:
            blob = self._blob(name, _CHUNK)
            if most is None:
                blob.download_to_filename(str(path), checksum="crc32c")
                return True
            blob.reload()
            if int(blob.size or 0) > most:
                raise InputError(
                    f"there is no room for {self.url(name)}",
                    details=f"It has {blob.size} bytes; there is room for {most}.",
                    resolution="make room on this computer",
                )
            generation = int(blob.generation or NEW)
            blob.download_to_filename(str(path), checksum="crc32c", if_generation_match=generation)
            return True

        if self._if_there(f"download {self.url(name)}", take) is None:
            path.unlink(missing_ok=True)
            return False
        return True

    # -- JSON documents ------------------------------------------------------------------------------------

    def document(self, name: str) -> tuple[dict[str, Any] | None, int]:
        """Return an object's JSON document and its generation; None and NEW where there is none."""
        held = self.read(name)
        if held is None:
            return None, NEW
        try:
            found = bounded_json(held.data, LARGEST)
        except BoundsError as error:
            raise self._damaged(name, str(error)) from None
        if not isinstance(found, dict):
            raise self._damaged(name, "holds no object")
        return found, held.generation

    def put_document(self, name: str, document: dict[str, Any], *, generation: int | None = None) -> int:
        """Write a JSON document; see `write`."""
        return self.write(name, canonical_json(document), generation=generation)

    def _damaged(self, name: str, why: str) -> StonewareError:
        return errors.CloudError(
            f"the document {self.url(name)} is damaged",
            details=f"It {why}.",
            resolution=f"gcloud storage ls -a {self.url(name)}    # the versions that the bucket keeps",
        )

    # -- the client ----------------------------------------------------------------------------------------

    def _blob(self, name: str, chunk: int | None = None) -> storage.Blob:
        return self._opened().bucket(self.name).blob(name, chunk_size=chunk)

    def _opened(self) -> storage.Client:
        if self._client is None:
            try:
                from google.cloud import storage
            except ImportError as error:
                raise errors.missing_extra(error) from None
            endpoint = self._api.settings.endpoint
            self._client = storage.Client(
                project=self._api.settings.project,
                credentials=self._api.credentials("open the bucket"),
                client_options={"api_endpoint": endpoint} if endpoint else None,
                # One of its own leaves connections to the collector of garbage where servers fail.
                _http=self._api.session("open the bucket"),
            )
        return self._client

    @staticmethod
    def _data(blob: storage.Blob) -> bytes:
        from google.api_core.exceptions import RequestRangeNotSatisfiable

        try:
            # Bounded, for others write objects too; one byte too many tells that there are more.
            return bytes(blob.download_as_bytes(start=0, end=LARGEST))
        except RequestRangeNotSatisfiable:  # an empty object has no first byte
            blob.reload()
            return b""

    def _if_there(self, what: str, ask: Callable[[], Answer]) -> Answer | None:
        """Return what is asked about an object, or None where there is none. A missing bucket is an error."""
        with self._clear(what):
            from google.api_core.exceptions import NotFound

            try:
                return ask()
            except NotFound as error:
                if _NO_BUCKET in str(error):  # which `_clear` tells
                    raise
                return None

    @contextlib.contextmanager
    def _clear(self, what: str) -> Iterator[None]:
        """Turn the errors of Google's client into ours."""
        # First: what follows is of a library that may be missing, which this tells.
        self._opened()
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

        project = self._api.settings.project
        try:
            yield
        except exceptions.GoogleAPICallError as error:
            if _NO_BUCKET in str(error):
                raise self._missing(what, str(error.message)) from None
            raise self._translated(what, error.code, error.response, str(error.message)) from None
        except InvalidResponse as error:
            raise self._translated(what, error.response.status_code, error.response, str(error)) from None
        # The client repeats by itself, for two minutes.
        except exceptions.RetryError as error:
            raise errors.unreachable(what, f"the bucket of {project}", error) from None
        except (TransportError, requests.RequestException) as error:
            raise errors.unreachable(what, "Cloud Storage", error) from None
        except GoogleAuthError as error:
            raise errors.no_credentials(what, error) from None
        except DataCorruption as error:
            raise errors.CloudError(
                f"cannot {what}: its checksum is wrong", details=str(error), resolution="try again"
            ) from None

    def _missing(self, what: str, message: str) -> StonewareError:
        return errors.MissingError(
            f"cannot {what}: there is no bucket {self.name}",
            status=404,
            details=visible(message, LINES)[:_SHOWN],
            resolution=creation(self.name, self._api.settings),
        )

    def _translated(self, what: str, status: Any, response: Any, message: str) -> StonewareError:
        try:
            document = json.loads(response.content)
        except (AttributeError, ValueError, TypeError):
            document = {"error": {"message": message}}
        return errors.of_response(what, int(status or 0), document, self._api.settings.project)


def creation(name: str, settings: Settings) -> str:
    """Return the command that makes a bucket."""
    place = f"--project {settings.project} --location {settings.region}"
    return f"gcloud storage buckets create gs://{name} {place} --uniform-bucket-level-access"
