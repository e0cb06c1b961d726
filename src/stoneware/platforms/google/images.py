"""Images on Compute Engine. Their manifests and tags are objects in the bucket: nothing needs who baked them.

    manifests/ID.json   an image's manifest; the SHA-256 of its bytes is the id
    tags/NAME:TAG       the id that a tag stands for, also as the object's metadata, which lists have
    bases/NAME.json     the exact public image that a base stands for until it is refreshed

The Compute Engine image has what a plan asks for in its labels: one list answers for all of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.files import sha256_hex
from stoneware.platforms.google import errors, labels
from stoneware.platforms.google.api import Api, last
from stoneware.platforms.google.bucket import LARGEST, Bucket
from stoneware.platforms.google.cloud_image import ID, CloudImage, labels_of, read_images
from stoneware.platforms.google.settings import Settings
from stoneware.platforms.google.shared_images import IN, SharedImages
from stoneware.platforms.google.stages import Stages
from stoneware.untrusted.bounded import BoundsError, bounded_json

BASES = {"debian:12": "debian-12", "debian:13": "debian-13"}  # to families of Debian's own project
PUBLIC = "debian-cloud"
_ARM = ("t2a-", "c4a-", "n4a-", "a4x-")  # how machine types with ARM processors begin
_FRESH = 2.0  # seconds for which a list is believed
_LINK = "https://www.googleapis.com/compute/v1/"  # how the API itself writes references


class GoogleImages:
    """Implements `stoneware.platforms.protocols.Images`. `home`: of what is of this computer."""

    def __init__(self, api: Api, bucket: Bucket, home: Path) -> None:
        self.api = api
        self.bucket = bucket
        self.home = home
        self.stages = Stages(api, bucket)
        self.shared = SharedImages(api, _checked)
        self._listed: tuple[float, dict[str, CloudImage]] | None = None
        self._manifests: dict[str, dict[str, Any]] = {}
        self._bases: dict[str, str | None] = {}

    @property
    def settings(self) -> Settings:
        """Return where all of this is."""
        return self.api.settings

    @property
    def architecture(self) -> str:
        """Return the architecture of the machines, which the machine type says."""
        return "arm64" if self.settings.machine_type.startswith(_ARM) else "amd64"

    # -- bases ---------------------------------------------------------------------------------------------

    def known_bases(self) -> tuple[str, ...]:
        """Return the bases that there are: Debian's public images."""
        return tuple(sorted(BASES))

    def base_identity(self, reference: str) -> str | None:
        """Return the image that a base stands for, `PROJECT/NAME/NUMBER`, or None where none is taken."""
        if (shared := self.shared.find(reference)) is not None:
            return shared.identity
        if reference not in self._bases:
            document, _ = self.bucket.document(_base(reference))
            found = (document or {}).get("image")
            self._bases[reference] = found if isinstance(found, str) and found.count("/") == 2 else None
        return self._bases[reference]

    def import_root(self, archive: Path, progress: Callable[[str], None]) -> str:  # noqa: ARG002
        """Refuse: an archive becomes an image of a project by way of this computer."""
        raise InputError(
            f"the platform google makes no image of {archive.name}",
            resolution="stoneware import FILE -t NAME --platform local",
        )

    def shared_base(self, reference: str) -> tuple[str, dict[str, Any] | None] | None:
        """Return identity and manifest of another project's image, which was shared with this one."""
        found = self.shared.find(reference)
        return (found.identity, found.manifest) if found is not None else None

    def lacks_guest(self, source: str) -> bool:
        """Say whether what is at a source lacks our programs: a public image does, one of ours does not."""
        kind, _, key = source.partition(":")
        return kind == "checkpoint" and "/" in key and not self.shared.is_ours(key)

    def base_title(self, reference: str) -> str:
        """Return what making a base is called where a bake is shown."""
        return f"base {reference}"

    def ensure_base(self, reference: str, *, refresh: bool, progress: Callable[[str], None]) -> str:
        """Take Debian's newest image for a base, unless one is taken already, and return its identity."""
        known = self.base_identity(reference)
        if known is not None and (not refresh or self.shared.find(reference) is not None):
            return known
        family = BASES.get(reference)
        if family is None:
            raise InputError(
                f"there is no base {reference}", resolution=f"bases: {', '.join(self.known_bases())}"
            )
        # Debian has a family for each processor; a base's name has none.
        if self.architecture == "arm64":
            family += "-arm64"
        path = f"/projects/{PUBLIC}/global/images/family/{family}"
        image = self.api.get("compute", path, f"find the newest image of {family}")
        identity = f"{PUBLIC}/{image.get('name')}/{image.get('id')}"
        progress(f"{reference} is the image {image.get('name')} of {PUBLIC}")
        try:
            _, generation = self.bucket.document(_base(reference))
            # With the generation just read: of two bakes at once, one is told that it was too late.
            self.bucket.put_document(_base(reference), {"image": identity}, generation=generation)
        except errors.ChangedError:  # somebody else was first: all take the same
            self._bases.pop(reference, None)
            return self.base_identity(reference) or identity
        self._bases[reference] = identity
        return identity

    # -- stages: no step is saved by itself ----------------------------------------------------------------

    @property
    def saves_steps(self) -> bool:
        """Say that whole stages are kept only, those that others need."""
        return False

    def has_checkpoint(self, key: str) -> bool:
        """Say whether a stage that ends with this step is kept as an image."""
        return self.stages.image(key) is not None

    def checkpoint_document(self, key: str) -> dict[str, Any] | None:  # noqa: ARG002 - it is in no label
        """Return nothing: nothing is noted with a stage."""
        return None

    def has_files(self, source: str, paths: Sequence[str]) -> bool:
        """Say whether files of a stage or an image are in the bucket."""
        return self.stages.has_files(source, paths)

    def files_address(self, source: str, paths: Sequence[str]) -> str:
        """Return where a builder uploads files of a stage or an image to."""
        return self.stages.address(source, paths)

    def stage_files(self, source: str, paths: Sequence[str], workspace: Path) -> Path:
        """Download files of a stage or an image, and return the archive."""
        return self.stages.fetch(source, paths, workspace)

    def stage_source(self, source: str) -> Path:
        """Refuse: files of images are not on this computer."""
        raise InputError(
            "the platform google cannot read the files of an image on this computer",
            details=source,
            resolution="bake it with --platform local",
        )

    def source_image(self, source: str) -> str:
        """Return the link of the Compute Engine image of a machine's source."""
        kind, _, key = source.partition(":")
        project = self.settings.project
        if kind == "image":
            name = self.cloud_image(key).name
        elif key.count("/") == 2:
            project, name, _ = key.split("/")
        else:
            found = self.stages.image(key)
            if found is None:
                raise InputError(f"the stage {key[:12]} is not kept any more", resolution="bake again")
            name = found
        return f"{_LINK}projects/{project}/global/images/{name}"

    # -- images --------------------------------------------------------------------------------------------

    def image_ids(self) -> list[str]:
        """Return the ids of all images that can be booted."""
        return sorted(self._images())

    def cloud_images(self) -> list[CloudImage]:
        """Return all images as Compute Engine has them."""
        return list(self._images().values())

    def mark(self, name: str, newer: str = "") -> None:
        """Mark an image as deprecated for a newer one, or take the mark away."""
        link = f"{_LINK}projects/{self.settings.project}/global/images/{newer}"
        # An empty body takes the mark away.
        body = {"state": "DEPRECATED", "replacement": link} if newer else {}
        what = f"mark the image {name} as {'deprecated' if newer else 'active'}"
        self.api.operate("POST", f"global/images/{name}/deprecate", what, body)

    def has_image(self, image_id: str) -> bool:
        """Say whether an image is there."""
        return image_id in self._images()

    def cloud_image(self, image_id: str) -> CloudImage:
        """Return an image as Compute Engine has it. Raises InputError where it is not there."""
        found = self._images().get(image_id)
        if found is None:
            raise InputError(f"there is no image {image_id}", resolution="stoneware images --platform google")
        return found

    def image_document(self, image_id: str) -> dict[str, Any]:
        """Return what is known of an image besides its manifest."""
        found = self.cloud_image(image_id)
        return {"key": found.key, "size_bytes": found.size_bytes, "name": found.name}

    def manifest(self, image_id: str) -> dict[str, Any]:
        """Return an image's manifest. What is in the bucket has to be what the id says."""
        if image_id not in self._manifests:
            held = self.bucket.read(_manifest(image_id))
            if held is None:
                raise InputError(
                    f"the image {image_id} has no manifest in {self.bucket.url('')}",
                    resolution=f"stoneware rmi --platform google {image_id.removeprefix(ID)[:12]}",
                )
            self._manifests[image_id] = _checked(self.bucket.url(_manifest(image_id)), image_id, held.data)
        return dict(self._manifests[image_id])

    def remove_image(self, image_id: str) -> None:
        """Remove an image and the tags on it. Raises InputError while a disk is made of it."""
        found = self._images().get(image_id)
        if found is not None:
            self._check_unused(found)
        # The other way round than it is made: a kill leaves nothing that names what is gone.
        for reference, target in self.tags().items():
            if target == image_id:
                self.remove_tag(reference)
        if found is not None:
            what = f"remove the image {found.name}"
            with contextlib.suppress(errors.MissingError):
                self.api.operate("DELETE", f"global/images/{found.name}", what)
        self.bucket.remove(_manifest(image_id))
        self.forget_list()

    def _check_unused(self, image: CloudImage) -> None:
        """Refuse to remove what Terraform would then recreate a living machine's disk from."""
        disks = self.api.items("compute", "aggregated/disks", "list the disks")
        users = sorted(str(disk.get("name")) for disk in disks if last(disk.get("sourceImage")) == image.name)
        if users:
            raise InputError(
                f"the image {image.name} is in use",
                details=f"These disks are made of it: {', '.join(users[:10])}.",
                resolution="remove the machines, or roll them to another image",
            )

    def save(
        self, disk: str, manifest: bytes, document: Mapping[str, Any], features: Sequence[str] = ()
    ) -> str:
        """Make an image of a disk that no machine writes to, and return its id, `sha256:…` of `manifest`.

        `features` are those of its guest system.
        """
        given = {"sourceDisk": disk, "guestOsFeatures": [{"type": name} for name in features]}
        self.add(given, manifest, document)
        return ID + sha256_hex(manifest)

    def add(
        self, source: Mapping[str, Any], manifest: bytes, document: Mapping[str, Any], how: str = "baked"
    ) -> str:
        """Make an image of what fields of Compute Engine's images say, and return its name there."""
        image_id = ID + sha256_hex(manifest)
        # Before the image: one without a manifest could not be booted, a manifest alone is in nobody's way.
        self.bucket.write(_manifest(image_id), manifest)
        told = bounded_json(manifest, LARGEST)
        given = {
            "description": f"{told['name']}, {how} by Stoneware: {image_id}; {IN}{self.bucket.name}",
            # Otherwise Google keeps it in several regions.
            "storageLocations": [self.settings.region],
            **source,
        }
        name = self._insert(str(told["name"]), image_id, given, told, document)
        self.forget_list()
        return name

    def _insert(
        self,
        name: str,
        image_id: str,
        given: Mapping[str, Any],
        manifest: Mapping[str, Any],
        document: Mapping[str, Any],
    ) -> str:
        commit = manifest.get("commit")
        key = str(document.get("key", ""))
        # A name says of which steps an image is; how often those were baked only Google knows.
        for number in range(1, 100):
            cloud = labels.image_name(name, commit, key, number)
            body: dict[str, Any] = {
                "name": cloud,
                "family": labels.of_name(name),
                **given,
                "labels": dict(self.settings.labels) | labels_of(name, image_id, manifest, document),
            }
            if self.settings.kms_key:
                body["imageEncryptionKey"] = {"kmsKeyName": self.settings.kms_key}
            try:
                self.api.operate("POST", "global/images", f"make the image {cloud}", body)
            except errors.TakenError:
                continue  # of the same steps, baked again with --no-cache
            return cloud
        raise errors.TakenError(
            f"there are a hundred images {labels.image_name(name, commit, key)}",
            resolution="stoneware rmi --platform google",
        )

    def _images(self) -> dict[str, CloudImage]:
        now = time.monotonic()
        if self._listed is None or now - self._listed[0] > _FRESH:
            listed = self.api.items(
                "compute", "global/images", "list the images", filter=f"labels.{labels.IMAGE}:*"
            )
            found = {image.id: image for image in read_images(listed)}
            self._listed = (now, found)
        return self._listed[1]

    def forget_list(self) -> None:
        """Ask again next time."""
        self._listed = None

    # -- tags ----------------------------------------------------------------------------------------------

    def tags(self) -> dict[str, str]:
        """Return every `NAME:TAG` with the id it stands for."""
        listed = self.bucket.listed("tags/").items()
        # Others may have put objects there.
        found = {name.removeprefix("tags/"): told.get("image", "") for name, told in listed}
        return {name: image for name, image in found.items() if image.startswith(ID) and ":" in name}

    def set_tag(self, reference: str, image_id: str) -> None:
        """Let `NAME:TAG` stand for an image, which is deprecated no more if it was."""
        self.bucket.write(
            f"tags/{reference}", f"{image_id}\n".encode(), kind="text/plain", metadata={"image": image_id}
        )
        found = self._images().get(image_id)
        if found is not None and found.deprecated:
            self.mark(found.name)
            self.forget_list()

    def remove_tag(self, reference: str) -> None:
        """Remove a tag; a missing one is no error."""
        self.bucket.remove(f"tags/{reference}")

    # -- this computer -------------------------------------------------------------------------------------

    def build_path(self, build_id: str) -> Path:
        """Return the working directory of one bake of this computer (not made yet)."""
        return _made(self.home / "builds") / build_id

    def build_lock_path(self, build_id: str) -> Path:
        """Return the flock file that a living bake of this computer holds."""
        return _made(self.home / "locks") / build_id

    def records(self) -> Path:
        """Return the directory of what earlier bakes of this computer were made of."""
        return _made(self.home / "records")


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _base(reference: str) -> str:
    return f"bases/{labels.of_name(reference)}.json"


def _manifest(image_id: str) -> str:
    return f"manifests/{image_id.removeprefix(ID)}.json"


def _checked(url: str, image_id: str, data: bytes) -> dict[str, Any]:
    try:
        found = bounded_json(data, LARGEST)
    except BoundsError as error:
        raise errors.CloudError(f"the manifest {url} is damaged", details=f"It {error}.") from None
    if ID + sha256_hex(data) != image_id or not isinstance(found, dict):
        raise errors.CloudError(
            f"the manifest {url} is damaged",
            details="It is not the one that the image was made with: its SHA-256 differs.",
            resolution=f"gcloud storage ls -a {url}    # the versions that the bucket keeps",
        )
    return found
