"""Builders on Compute Engine: Terraform makes the instances; bundles and results are in the bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stoneware.errors import InputError, MachineError, StonewareError
from stoneware.files import sha256_hex
from stoneware.model import guest_protocol
from stoneware.model.machine import Machine
from stoneware.platforms.google import envelope, labels, parts
from stoneware.platforms.google.builder_instance import Instance, Seldom, machine
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.infrastructure import GoogleInfrastructure
from stoneware.platforms.google.names import MARK
from stoneware.platforms.google.terraform import poll_interval
from stoneware.platforms.google.terraform_errors import STOCKOUT, refusal
from stoneware.terraform.builders import BuilderTerraform, destroy_states
from stoneware.terraform.results import TerraformError

CACHES = "caches/"
_BUNDLE = "bundle.tar"
_CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# The words between a driver and the metadata server of this computer: no builder of Google's asks for them.
_NOT_ASKED = {guest_protocol.ACCEPT}
_NOT_TOLD = _NOT_ASKED | {guest_protocol.GO}
_OFF = ("TERMINATED", "STOPPED")
_LARGEST = 262144  # bytes of a metadata value
# Seconds: Google wants no more than ten reads or writes of guest attributes in a minute.
_RHYTHM = {"beat": 12.0, "reports": 6.0, "console": 2.0, "look": 6.0}
_EMULATED = {"beat": 2.0, "reports": 0.25, "console": 0.5, "look": 1.0}


class GoogleBuilder:
    """One builder; in a `with` block. See `stoneware.platforms.builders.Builder`."""

    def __init__(  # noqa: PLR0917 - as prepare_builder
        self,
        images: GoogleImages,
        infrastructure: GoogleInfrastructure,
        name: str,
        directory: Path,
        output: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self._images = images
        self._api = images.api
        self._bake = directory.parent.name
        self._zone = directory / "zone"
        self._terraform = BuilderTerraform(infrastructure, directory, output, tell)
        rhythm = _EMULATED if self._api.settings.endpoint else _RHYTHM
        self.beat = rhythm["beat"]
        self._offset = 0
        self._secrets: dict[str, Path] = {}  # by the names that its agent asks for them
        self._key = ""  # its agent's public one
        self._source = ""
        self._reports = Seldom(lambda: self._instance().reports(), rhythm["reports"])
        self._record = Seldom(lambda: self._instance().record(), rhythm["look"])
        self._console = Seldom(lambda: self._instance().console(self._offset), rhythm["console"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._terraform.close()

    # -- before it is there --------------------------------------------------------------------------------

    def lacks_guest(self, source: str) -> bool:
        """Say that a public image lacks our programs; an image of ours has them."""
        return self._images.lacks_guest(source)

    def publish(self, bundle: Path, files: Mapping[str, Path]) -> str:
        """Upload the bundle. Files for the agent alone, which are secrets, wait for its key: see `tell`."""
        self._secrets = dict(files)
        self._images.bucket.upload(self._object(_BUNDLE), bundle)
        return self._images.bucket.url(self._object(_BUNDLE))

    def results_address(self, result: str) -> str:
        """Return the object that the builder uploads a result to."""
        return self._images.bucket.url(self._object(result))

    def _object(self, name: str) -> str:
        return f"{_objects(self._bake)}{self.name}/{name}"

    def boot(self, source: str, metadata: Mapping[str, str], caches: Sequence[str] = ()) -> None:
        """Have Terraform make the builder, in the first zone that has room for it."""
        if caches:
            found = [self._images.bucket.url(cache_object(cache)) for cache in caches]
            metadata = {**metadata, guest_protocol.CACHES: " ".join(found)}
        image = self._images.source_image(source)
        self._source = source
        tried = []
        for zone in self._fitting(self._api.zones()):
            tried.append(zone)
            # Before Terraform asks: one whose reply is lost is looked for in this zone, and deleted.
            self._zone.write_text(zone)
            try:
                self._terraform.apply(self._variables(zone, image, metadata))
            except TerraformError as error:
                refused = error
                # Another zone may have room; any other error would come again there.
                if STOCKOUT not in f"{error.brief}\n{error.details}":
                    break
            else:
                self._record.forget()  # that there was none yet, a moment ago
                return
        raise _located(refused, tried, self._api.settings.project) from None

    def _fitting(self, zones: Sequence[str]) -> Iterator[str]:
        """Yield the zones that have the machine type. Raises InputError where none has."""
        settings, kind = self._api.settings, "machineTypes"
        found = False
        for zone in zones:
            if self._api.offers(zone, kind, settings.machine_type):
                found = True
                yield zone
        if not found:
            said, listed = parts.told(kind, settings.machine_type, zones)
            raise InputError(
                f"{said}, so that no builder can be made",
                resolution=listed,
                location=settings.machine_type_place,
            )

    def _variables(self, zone: str, image: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        settings = self._api.settings
        told = {key: value for key, value in metadata.items() if key not in _NOT_ASKED}
        # An emulator's objects are at no address of Google's.
        if settings.endpoint:
            told[guest_protocol.STORAGE] = settings.guest_endpoint or guest_protocol.GUEST_ENDPOINT
        return {
            "name": self.name,
            "project": settings.project,
            "zone": zone,
            "poll_interval": poll_interval(settings),
            "image": image,
            "machine_type": settings.machine_type,
            "metadata": told,
            "labels": {**settings.labels, MARK: "builder", labels.BAKE: self._bake},
            "network": settings.network,
            "subnetwork": settings.subnetwork or None,
            "external_ip": settings.external_ip,
            "service_account": settings.service_account or "default",
            "kms_key": settings.kms_key or None,
            # Any step can have the token, and the project's default account may do much: without an account
            # of the builders' own they get the module's scope, which is Cloud Storage alone.
            **({"scopes": [_CLOUD_SCOPE]} if settings.service_account else {}),
        }

    # -- while it runs -------------------------------------------------------------------------------------

    def _instance(self) -> Instance:
        zone = self._zone.read_text() if self._zone.exists() else self._api.zones()[0]
        return Instance(self._api, zone, self.name)

    @contextlib.contextmanager
    def _looked_at_again(self) -> Iterator[None]:
        """Where it turns out to be gone, do not say what was so a moment ago."""
        try:
            yield
        except InputError:
            self._record.forget()
            raise

    def observe(self) -> Machine | None:
        """Return the machine as it was a moment ago, or None where it is gone."""
        record = self._record()
        return machine(record, self._source) if record is not None else None

    def console(self, offset: int = 0) -> tuple[bytes, int]:
        """Return a piece of the serial port's output; nothing before it may be asked again."""
        self._offset = offset
        with self._looked_at_again():
            return self._console() if self._console.due() else (b"", offset)

    def reports(self) -> dict[str, str]:
        """Return its guest attributes as they were a moment ago. The first key of its agent is taken."""
        found = self._reports()
        key = found.get(envelope.KEY_REPORT, "")
        if self._secrets and not self._key and 0 < len(key) <= envelope.MOST_KEY:
            # No step runs before the agent has read this, so the key is the agent's own.
            self._instance().tell({guest_protocol.SERVING: f"key {envelope.digest(key)}"})
            self._key = key
        return found

    def tell(self, changes: Mapping[str, str | None]) -> None:
        """Change its attributes, those that a builder of Google's asks for."""
        told = {key: value for key, value in changes.items() if key not in _NOT_TOLD}
        for key, value in told.items():
            if len((value or "").encode()) > _LARGEST:
                raise MachineError(
                    f"{key} is larger than what an instance can be told ({_LARGEST} bytes)",
                    resolution="install fewer packages: the image's manifest lists them",
                )
        for name in (told.get(guest_protocol.SERVING) or "").split()[1:]:
            content = envelope.sealed(self._key, self._secrets[name].read_bytes())
            # Before the agent is told of it: it fetches the object at once.
            self._images.bucket.write(self._object(name), content, kind="application/octet-stream")
        if told:
            with self._looked_at_again():
                self._instance().tell(told)
            self._record.forget()

    def check_helpers(self) -> None:
        """Nothing of this computer is needed by a builder of Google's."""

    def result(self, result: str) -> bytes:
        """Return what it has uploaded under a name."""
        held = self._images.bucket.read(self._object(result))
        if held is None:
            raise MachineError(f"the builder {self.name} has not uploaded {result}")
        return held.data

    def prepare_list(self, base: str) -> None:
        """Do nothing: its agent lists its files."""

    def list_files(self, base: str) -> bool:  # noqa: ARG002 - nothing of it can be read from here
        """Say that its agent lists its files."""
        return False

    def save_step(
        self,
        key: str,
        document: Mapping[str, Any],  # noqa: ARG002 - labels cannot hold it
        *,
        taken: Callable[[], None] | None = None,
    ) -> None:
        """Keep the whole stage, whose builder has stopped, as an image."""
        self._images.stages.keep(key, *self._boot_disk())
        if taken is not None:
            taken()

    # -- at its end ----------------------------------------------------------------------------------------

    def stop(self, timeout: float | None = None) -> None:  # noqa: ARG002 - Google gives it 90 seconds
        """Stop the instance."""
        self._instance().stop()
        self._record.forget()

    def capture(
        self, manifest: bytes, document: Mapping[str, Any], *, files: Mapping[str, bytes] | None = None
    ) -> str:
        """Make an image of its boot disk and return the id."""
        if files:
            raise InputError("the platform google cannot write into a disk", details=", ".join(sorted(files)))
        disk, features = self._boot_disk()
        return self._images.save(disk, manifest, document, features)

    def _boot_disk(self) -> tuple[str, list[str]]:
        """Return the disk it boots from, and the features of the system on it. Licences go with the disk."""
        record = self._instance().record()
        if record is None:
            raise MachineError(f"the builder {self.name} is gone", resolution="bake again")
        # Google makes no image of a disk that is written to.
        if record.get("status") not in _OFF:
            raise MachineError(f"the builder {self.name} still runs", details=str(record.get("status")))
        boot = next(disk for disk in record["disks"] if disk.get("boot"))
        features = [str(each.get("type")) for each in boot.get("guestOsFeatures") or () if each.get("type")]
        return f"projects/{str(boot['source']).partition('/projects/')[2]}", features

    def release(self, *, failed: bool = False) -> None:
        """Have Terraform destroy the builder, and remove its objects."""
        try:
            self._terraform.destroy(self.name, lambda: self._instance().record() is not None)
            remove_objects(self._images, self._bake, self.name)
        except StonewareError:
            if not failed:
                raise
            # The bake has its error already; what Terraform could not remove must not go on costing.
            with contextlib.suppress(StonewareError):
                self._instance().delete()
                self._terraform.forget()
                remove_objects(self._images, self._bake, self.name)
        self._record.forget()


def cache_object(cache: str) -> str:
    """Return the object that a cache of RUN is kept in, by its id."""
    return f"{CACHES}{sha256_hex(cache.encode(errors='surrogateescape'))[:32]}.tar"


def remove_objects(images: GoogleImages, bake: str, builder: str = "") -> None:
    """Remove the objects of a bake's builders, or of one of them."""
    for name in images.bucket.names(f"{_objects(bake)}{builder}"):
        images.bucket.remove(name)


def remove_builders(images: GoogleImages, infrastructure: GoogleInfrastructure, bake: Path) -> bool:
    """Remove the builders that a bake has left, by the Terraform that made them where it knows them."""
    removed = destroy_states(bake, infrastructure)
    # Terraform's state lacks one whose reply was lost; its label finds it.
    for instance in left_instances(images, bake.name):
        removed = instance.delete() or removed
    remove_objects(images, bake.name)
    return removed


def left_instances(images: GoogleImages, bake: str = "*") -> list[Instance]:
    """Return the builders that there are of a bake, or of all."""
    sign = ":" if bake == "*" else "="
    wanted = f"labels.{labels.BAKE}{sign}{bake}"
    found = images.api.items("compute", "aggregated/instances", "list the builders", filter=wanted)
    return [
        Instance(images.api, str(record["zone"]).rsplit("/", 1)[-1], str(record["name"])) for record in found
    ]


def _objects(bake: str) -> str:
    return f"bakes/{bake}/"


def _located(error: TerraformError, tried: Sequence[str], project: str) -> TerraformError:
    if (said := refusal(f"{error.brief}\n{error.details}", project)) is not None:
        error.resolution, error.exit_code = said.resolution, said.exit_code
    error.details = "\n".join(filter(None, [error.details, f"zones that were tried: {', '.join(tried)}"]))
    return error
