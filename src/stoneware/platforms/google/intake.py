"""Images of another platform become images of the project: by an archive in the bucket, which then goes.

    pushes/ID.tar.gz          in the bucket, from the end of the upload until the image is there
    pushes/ID/disk.tar.gz     on this computer, in the platform's directory: what is uploaded
    pushes/ID/upload.json     … and the session in which that is

A push that is killed leaves them; the next one of the same image goes on from there. Any other command that
looks after the project removes what has become an object, since that costs money.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stoneware.errors import InputError, StonewareError
from stoneware.files import locked
from stoneware.image.references import short_id
from stoneware.platforms.disks import DiskFormat
from stoneware.platforms.google import labels
from stoneware.platforms.google.cloud_image import ID
from stoneware.platforms.google.images import BASES, PUBLIC, GoogleImages
from stoneware.platforms.google.uploads import Upload
from stoneware.platforms.intake import Offer, Taken

PUSHES = "pushes/"
_FEATURES = ("UEFI_COMPATIBLE", "VIRTIO_SCSI_MULTIQUEUE", "GVNIC")  # our disks boot by UEFI alone
_ARCHITECTURES = {"amd64": "X86_64", "arm64": "ARM64"}
_POLL = 5.0  # seconds between two looks at an image that is being made
_LONGEST = 1800.0
_OLD = 6 * 86400.0  # seconds after which a session is not gone on with
_SAID = 10.0  # seconds between two words about an upload

Progress = Callable[[str], None]


class GoogleIntake:
    """Implements `stoneware.platforms.intake.Intake`."""

    def __init__(self, images: GoogleImages, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._images = images
        self._sleep = sleep

    @property
    def form(self) -> DiskFormat:
        """Return Compute Engine's form."""
        return DiskFormat.GCE

    def take(self, offer: Offer, write: Callable[[Path], None], progress: Progress) -> Taken:
        """Have an image with its tags; see the protocol."""
        manifest = json.loads(offer.manifest)
        self._check(manifest)
        known = self._images.tags()  # the first question: credentials, project and bucket are there
        with self._alone(offer.image, progress):
            for sentence in self.recover():  # of others: this one is held
                progress(sentence)
            name, new = self._found(offer.image, progress), False
            if not name:
                name, new = self._make(offer, manifest, write, progress), True
            self._clean(offer.image)
        # Last: what a tag names is there whole.
        for tag in offer.tags:
            if known.get(tag) != offer.image:
                self._images.set_tag(tag, offer.image)
        return Taken(name, new)

    def _check(self, manifest: Mapping[str, Any]) -> None:
        has, needed = manifest.get("architecture"), self._images.architecture
        if has != needed:
            raise InputError(
                f"the image is for {has}, and the machines of the project are of {needed}",
                details=f"The machine type is {self._images.settings.machine_type}.",
                resolution=f'machine_type = "…"    # in [google] of stoneware.toml, one with {has}',
            )

    # -- what there is -------------------------------------------------------------------------------------

    def _state(self, image: str) -> tuple[str, str]:
        """Return name and status of the Compute Engine image of an image; nothing where there is none."""
        wanted = f"labels.{labels.IMAGE}={labels.of_digest(image)}"
        listed = self._images.api.items("compute", "global/images", "look for the image", filter=wanted)
        states = {str(one.get("name")): str(one.get("status")) for one in listed}
        # One that FAILED does not count.
        for status in ("READY", "PENDING"):
            for name, found in states.items():
                if found == status:
                    return name, status
        return "", ""

    def _found(self, image: str, progress: Progress) -> str:
        """Return the name of the Compute Engine image, once it is made where it is being made; or nothing."""
        until = time.monotonic() + _LONGEST
        name, status = self._state(image)
        if status == "PENDING":
            progress(f"the image {name} is being made already: waiting for it")
        while status == "PENDING" and time.monotonic() < until:
            self._sleep(_POLL)
            name, status = self._state(image)
        # A list of before lacks what was made meanwhile.
        self._images.forget_list()
        return name

    # -- what is made --------------------------------------------------------------------------------------

    def _make(
        self, offer: Offer, manifest: Mapping[str, Any], write: Callable[[Path], None], progress: Progress
    ) -> str:
        name = self._object(offer.image)
        system = self._system(manifest)
        # A push that was killed behind its upload need not send it again.
        if not self._images.bucket.has(name):
            self._upload(offer.image, name, write, progress)
        progress("making the image of it")
        # The form in which Compute Engine takes it, whatever serves the objects.
        source = f"https://storage.googleapis.com/{self._images.bucket.name}/{quote(name)}"
        given = {"rawDisk": {"source": source, "containerType": "TAR"}, **system}
        return self._images.add(given, offer.manifest, offer.document, "pushed")

    def _system(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Return features and licences of the guest system: those that Debian's own image of it has."""
        architecture = str(manifest.get("architecture"))
        given: dict[str, Any] = {"architecture": _ARCHITECTURES[architecture]}
        family = BASES.get(str((manifest.get("base") or {}).get("reference")))
        found: Mapping[str, Any] = {}
        if family is not None:
            family += "-arm64" if architecture == "arm64" else ""
            path = f"/projects/{PUBLIC}/global/images/family/{family}"
            found = self._images.api.get("compute", path, f"look at the newest image of {family}")
        theirs = [str(each.get("type")) for each in found.get("guestOsFeatures") or () if each.get("type")]
        given["guestOsFeatures"] = [{"type": name} for name in dict.fromkeys((*_FEATURES, *theirs))]
        return given | ({"licenses": found["licenses"]} if found.get("licenses") else {})

    def _upload(self, image: str, name: str, write: Callable[[Path], None], progress: Progress) -> None:
        place = self._place(image)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        archive = place / "disk.tar.gz"
        # An archive has its name only once it is whole.
        if not archive.exists():
            write(archive)
        told = _Told(progress, archive.stat().st_size)
        Upload(self._images.bucket, name, archive, place / "upload.json", sleep=self._sleep).run(told)

    # -- what is left --------------------------------------------------------------------------------------

    def recover(self) -> list[str]:
        """Remove what killed pushes left that costs money; return what was done."""
        return [sentence for image in self._left() if (sentence := self._recovered(image))]

    def _left(self) -> list[str]:
        home = self._images.home / PUSHES
        return [f"{ID}{place.name}" for place in sorted(home.iterdir())] if home.is_dir() else []

    def _recovered(self, image: str) -> str:
        """Remove what a push left, unless it lives or costs nothing; return what was done."""
        try:
            with locked(self._lock(image), timeout=0):
                there = self._images.bucket.has(self._object(image))
                if there and self._state(image)[1] == "PENDING":
                    return ""  # of which an image is being made: it is needed
                note = self._place(image) / "upload.json"
                if not there and note.exists() and time.time() - note.stat().st_mtime < _OLD:
                    return ""  # it costs nothing
                self._clean(image)
        except (TimeoutError, StonewareError):  # who asks for something else is not held up
            return ""
        return f"removed what a push of {short_id(image)} that did not end had uploaded" if there else ""

    def _clean(self, image: str) -> None:
        """Remove object and archive of an image. The object goes first: the directory tells of it."""
        place = self._place(image)
        if place.is_dir() or self._images.bucket.has(self._object(image)):
            self._images.bucket.remove(self._object(image))
        shutil.rmtree(place, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self, image: str, progress: Progress) -> Iterator[None]:
        lock = self._lock(image)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(lock, timeout=0))
            except TimeoutError:
                progress("another push of the same image is under way: waiting for it")
                held.enter_context(locked(lock))
            yield

    def _lock(self, image: str) -> Path:
        return self._images.home / "locks" / f"push-{image.removeprefix(ID)}"

    def _place(self, image: str) -> Path:
        return self._images.home / PUSHES / image.removeprefix(ID)

    @staticmethod
    def _object(image: str) -> str:
        return f"{PUSHES}{image.removeprefix(ID)}.tar.gz"


class _Told:
    """Says now and then how far an upload is."""

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._next = 0.0
        progress(f"uploading {_mib(size)} MiB")

    def __call__(self, sent: int, size: int) -> None:
        now = time.monotonic()
        if not self._next:
            self._next = now + _SAID
            if sent:
                self._progress(f"{_mib(sent)} MiB are there already")
        elif now >= self._next and sent < size:
            self._next = now + _SAID
            self._progress(f"uploaded {_mib(sent)} of {_mib(size)} MiB")


def _mib(size: int) -> int:
    return -(-size // (1 << 20))
