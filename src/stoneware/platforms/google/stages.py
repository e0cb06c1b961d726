"""What is kept of stages on Google Cloud: files that others take in the bucket, and whole stages as images.

    stages/KEY/PATHS.tar   files of what has this key, packed by its builder; PATHS is a digest of which ones

A stage that another one stands on is an image of Compute Engine with its key as a label, in no family. Either
is as the stage's key says, so nothing of it is ever changed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from stoneware.errors import InputError
from stoneware.files import sha256_hex
from stoneware.platforms.google import errors, labels
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.untrusted.extraction import free_room

PREFIX = "stages/"
_KEY = re.compile(r"[0-9a-f]{64}")


def object_of(source: str, paths: Sequence[str]) -> str:
    """Return the object that holds files of a source, `checkpoint:KEY` or `image:ID`."""
    key = source.partition(":")[2].removeprefix("sha256:")
    if not _KEY.fullmatch(key):  # a public image: PROJECT/NAME/NUMBER
        key = sha256_hex(key.encode())
    return f"{PREFIX}{key}/{sha256_hex(chr(10).join(paths).encode(errors='surrogateescape'))[:32]}.tar"


class Stages:
    """Stages of one project."""

    def __init__(self, api: Api, bucket: Bucket) -> None:
        self._api = api
        self._bucket = bucket
        self._images: dict[str, str] | None = None
        self._found: set[str] = set()

    # -- files ---------------------------------------------------------------------------------------------

    def has_files(self, source: str, paths: Sequence[str]) -> bool:
        """Say whether these files of a source are in the bucket."""
        name = object_of(source, paths)
        if name not in self._found and self._bucket.has(name):
            self._found.add(name)  # what is there stays as it is; only `prune` removes it
        return name in self._found

    def address(self, source: str, paths: Sequence[str]) -> str:
        """Return where a builder uploads them to."""
        return self._bucket.url(object_of(source, paths))

    def fetch(self, source: str, paths: Sequence[str], workspace: Path) -> Path:
        """Download them into a directory and return the archive, in which a builder may have put anything."""
        name = object_of(source, paths)
        place = workspace / f"files-{sha256_hex(name.encode())[:32]}.tar"
        if place.exists():
            return place
        # A builder decides how large it is, and must not fill the disk here.
        descriptor = os.open(workspace, os.O_RDONLY)
        try:
            room = free_room(descriptor)
        finally:
            os.close(descriptor)
        if not self._bucket.download(name, place, most=room):
            raise InputError(
                f"the files {self._bucket.url(name)} are gone",
                details="Somebody has removed them since this bake was planned.",
                resolution="bake again",
            )
        return place

    # -- whole stages --------------------------------------------------------------------------------------

    def image(self, key: str) -> str | None:
        """Return the name of the image that a stage is kept as, or None where it is not."""
        if self._images is None:
            query = f"labels.{labels.STAGE}:*"
            listed = self._api.items(
                "compute", "global/images", "list the stages that are kept", filter=query
            )
            found = {str((one.get("labels") or {}).get(labels.STAGE)): str(one.get("name")) for one in listed}
            self._images = {labels.to_digest(label) or "": name for label, name in found.items()}
        # An image with another kind of label was listed under the empty key.
        return self._images.get(key) if key else None

    def keys(self) -> list[str]:
        """Return the keys of all stages that are kept as images."""
        self.image("-")  # asks where nobody has
        return sorted(self._images or ())

    def remove(self, key: str) -> None:
        """Remove what is kept of a stage."""
        name = self.image(key)
        if name is not None:
            with contextlib.suppress(errors.MissingError):
                self._api.operate("DELETE", f"global/images/{name}", f"remove the stage {name}")
        for each in self._bucket.names(f"{PREFIX}{key}/"):
            self._bucket.remove(each)
        self._images = None

    def keep(self, key: str, disk: str, features: Sequence[str] = ()) -> None:
        """Make an image of the disk of a stage's builder, which has stopped; one that is there stays.

        `features` are those of its guest system.
        """
        settings = self._api.settings
        name = f"stage-{key[:56]}"  # a name has 63 characters
        body = {
            "name": name,
            "description": "a stage of a Machinefile, kept by Stoneware for other stages",
            "sourceDisk": disk,
            "storageLocations": [settings.region],
            "labels": {**settings.labels, labels.STAGE: labels.of_digest(key)},
            "guestOsFeatures": [{"type": name} for name in features],
        }
        if settings.kms_key:
            body["imageEncryptionKey"] = {"kmsKeyName": settings.kms_key}
        with contextlib.suppress(errors.TakenError):
            self._api.operate("POST", "global/images", f"keep the stage {name}", body)
        self._images = None
