"""Buckets and objects of Cloud Storage, which has no operations."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from pathlib import Path as File
from typing import ClassVar
from urllib.parse import quote

from stoneware.provider.values import Unknown
from tests.google.provider.client import ApiError
from tests.google.provider.compute import NEW
from tests.google.provider.documents import Document, Field, Table, known, written
from tests.google.provider.kinds import Int64, Upper
from tests.google.provider.planning import Path
from tests.google.provider.resource import Change, Resource
from tests.google.provider.schema import Values
from tests.google.provider.uploads import upload

_ACCESS = "iamConfiguration"


def _patch(bucket: Resource, old: Values, new: Values) -> None:
    document = bucket.body(new)
    gone = dict.fromkeys((old["effective_labels"] or {}).keys() - (new["effective_labels"] or {}).keys())
    document["labels"] = document.get("labels", {}) | gone
    bucket.client.call("PATCH", bucket.url(new), document)


class Bucket(Resource):
    """A bucket."""

    type = "google_storage_bucket"
    noun = "Bucket"
    collection = "b"
    service = "storage"
    table: ClassVar[Table] = {
        "name": NEW,
        "location": Field(kind=Upper(), replaces=True),
        "storage_class": Field(default="STANDARD"),
        "force_destroy": Field(path=None, default=False),
        "public_access_prevention": Field(f"{_ACCESS}.publicAccessPrevention"),
        "uniform_bucket_level_access": Field(f"{_ACCESS}.uniformBucketLevelAccess.enabled"),
        "url": Field("x-url"),
        "versioning": Field(keeps=True, fields={"enabled": Field(always=True)}),
    }
    changes = tuple(
        Change(name, _patch)
        for name in (
            "labels",
            "public_access_prevention",
            "storage_class",
            "uniform_bucket_level_access",
            "versioning",
        )
    )

    def create(self, values: Values) -> Values:
        """Make it; its project is in the query."""
        try:
            self.client.call(
                "POST", self.url(values, "collection"), self.body(values), project=values["project"]
            )
        except ApiError as error:
            raise ApiError(error.status, f"Error creating bucket {values['name']}: {error}") from error
        self.fetch(values)
        return self.present(values)

    def inward(self, document: Document, before: Values) -> Document:
        """Add its address in gsutil's form."""
        return document | {"x-url": f"gs://{document['name']}"}

    def identity(self, values: Values) -> str:
        """Return its name."""
        return str(values["name"])

    def before_delete(self, values: Values) -> None:
        """Empty it where that is allowed."""
        url = self.url(values)
        with contextlib.suppress(ApiError):  # the provider goes on as well
            self.client.get(f"{url}/anywhereCaches/")
        left = self.client.get(f"{url}/o", versions="true").get("items", [])
        if left and not values["force_destroy"]:
            raise ApiError(
                None,
                f"Error trying to delete bucket {values['name']} containing objects "
                "without `force_destroy` set to true",
            )
        for each in left:
            name, generation = quote(each["name"], safe=""), each["generation"]
            self.client.call("DELETE", f"{url}/o/{name}", generation=generation)


class BucketObject(Resource):
    """An object, of a text or of a file."""

    type = "google_storage_bucket_object"
    noun = "object"
    collection = "b/{bucket}/o"
    service = "storage"
    table: ClassVar[Table] = {
        "name": NEW,
        "bucket": NEW,
        "content": Field(path=None),
        "source": Field(path=None, replaces=True),
        "source_md5hash": Field(path=None),
        "content_type": NEW,
        "detect_md5hash": Field("md5Hash", sent=False),
        "generation": Field(kind=Int64()),
        "md5hash": Field("md5Hash"),
        "md5hexhash": Field("x-hex"),
        "metadata": NEW,
        "output_name": Field("name", sent=False),
        "storage_class": NEW,
    }

    def customize(self, planned: Values, have: Values | None, replaced: list[Path]) -> None:
        """Compare what is to be uploaded with what there is."""
        if planned["content"] is Unknown and planned["source"] is not None:
            planned["content"] = None
        try:
            data = _data(planned)
        except ApiError:  # a file that is there at the apply only
            data = None
        here = None if data is None else _md5(data)
        if have is None:
            planned["detect_md5hash"] = here or "different hash"
        elif here is not None and here != have["md5hash"]:
            planned["detect_md5hash"] = "different hash"
            planned |= dict.fromkeys(("crc32c", "generation", "md5hash"), Unknown)
        else:
            planned["detect_md5hash"] = have["detect_md5hash"]

    def path(self, values: Values, of: str = "") -> str:
        """Return its path, whose name is one part."""
        parent = f"b/{values['bucket']}/o"
        return parent if of == "collection" else f"{parent}/{quote(values['name'], safe='')}"

    def identity(self, values: Values) -> str:
        """Return the bucket's and the object's name."""
        return f"{values['bucket']}-{values['name']}"

    def inward(self, document: Document, before: Values) -> Document:
        """Add the hash in its other form."""
        return document | {"x-hex": base64.b64decode(document.get("md5Hash", "")).hex()}

    def update(self, old: Values, new: Values) -> Values:
        """Upload it again."""
        return self.create(new)

    def create(self, values: Values) -> Values:
        """Upload it."""
        data = _data(values)
        if data is None:
            raise ApiError(None, 'Error, either "content" or "source" must be specified')
        document = written(self.schema.block, self.table, values, self.place(values))
        kind = known(values["content_type"]) or _guessed(data)
        base = self.client.settings.endpoint("storage").removesuffix("storage/v1/")
        url = f"{base}upload/storage/v1/{self.path(values, 'collection')}"
        try:
            upload(self.client, url, document, kind, data)
        except ApiError as error:
            raise ApiError(error.status, f"Error uploading object {values['name']}: {error}") from error
        return self.present(values)


def _data(values: Values) -> bytes | None:
    """Return what is to be uploaded, None where it is not known yet."""
    content, source = values["content"], values["source"]
    if isinstance(source, str):
        try:
            return File(source).read_bytes()
        except OSError as error:
            raise ApiError(None, f"open {source}: {error.strerror}") from error
    return content.encode() if isinstance(content, str) else None


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _guessed(data: bytes) -> str:
    try:
        data[:512].decode()
    except UnicodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"
