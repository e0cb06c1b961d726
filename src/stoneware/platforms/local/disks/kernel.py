"""The kernel layer of an image: a copy of its root with a kernel, an initramfs and systemd-boot installed.

It is made when a disk is asked for, so images of containers stay small, and kept as a checkpoint `kernel-…`.
The packages are installed in a builder, a machine with the walls of every machine: programs of the image run
in it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import BuildError, InputError
from stoneware.files import canonical_json, locked, sha256_hex
from stoneware.guest import kernel_layer
from stoneware.guest.reports import BuildReport, InvalidReportError, build_report_of
from stoneware.model import guest_protocol
from stoneware.model.labels import KERNEL_LABEL, KERNELS
from stoneware.model.machine import MachineSpec, Phase
from stoneware.platforms.local.host.architecture import architecture
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKES, Machines
from stoneware.scratch import scratch_directory

Progress = Callable[[str], None]

LAYERS = "kernel-"  # how the keys of layers begin
AGENT = ("qemu-guest-agent",)  # how commands get into virtual machines here
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_LONGEST = 1800.0  # seconds
_POLL = 0.2
_EPOCH = 1  # the time of files in each initramfs: what is in one does not depend on the image's time
_FRESH = 7 * 86400.0  # seconds for which an installed kernel is good for further images
_MOST_TRIED = 3  # other layers
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~_-]{0,63}")
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "amd64": {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"},
    "arm64": {"cloud": "linux-image-cloud-arm64", "generic": "linux-image-arm64"},
}


@dataclass(frozen=True)
class Layer:
    """A layer that is there: its checkpoint's key, and the version of its kernel."""

    key: str
    version: str


@dataclass(frozen=True)
class Wanted:
    """A layer as it is asked for. `epoch` is the time of everything that has to have one.

    It is of an image, by its id, or of a `source` that is none, by a key that stands for that.
    """

    image: str
    package: str
    skipped: tuple[str, ...]
    epoch: int
    extras: tuple[str, ...] = ()  # packages that come with the kernel
    source: str = ""  # `checkpoint:KEY`
    bare: bool = False  # without Stoneware's programs, so that it does not boot as a builder

    @property
    def key(self) -> str:
        """Return its key: another image, package or recipe is another layer."""
        parts = [self.image, self.package, self.epoch, kernel_layer.digest(), *self.extras]
        return LAYERS + sha256_hex(canonical_json(parts))[:40]

    @property
    def recipe(self) -> str:
        """Return what two layers have in common where they differ by their images alone."""
        parts = [kernel_layer.digest(), self.package, architecture(), self.bare]
        return sha256_hex(canonical_json([*parts, list(self.extras), list(self.skipped)]))


def wanted_layer(store: Store, image_id: str, *, agent: bool = False) -> Wanted:
    """Return the layer that an image asks for, with the agent of machines here or as it is exported.

    Raises InputError where it is to have no kernel.
    """
    manifest = store.manifest(image_id)
    choice = str((manifest.get("labels") or {}).get(KERNEL_LABEL) or KERNELS[0])
    packages = _PACKAGES.get(architecture(), {})
    if choice not in packages:
        raise InputError(
            "the image is to have no kernel" if choice == "none" else f"there is no kernel {choice!r}",
            details=f"Its label {KERNEL_LABEL} is {choice!r}, and a disk that boots needs a kernel.",
            resolution=f"LABEL {KERNEL_LABEL}={KERNELS[0]}    # in its Machinefile, then bake it again",
        )
    checks = [check for check in manifest.get("checks", ()) if check.get("result") == "skip"]
    skipped = tuple(str(check.get("name")) for check in checks)
    return Wanted(image_id, packages[choice], skipped, epoch_of(manifest), AGENT if agent else ())


def wanted_of_checkpoint(store: Store, key: str, extras: tuple[str, ...], *, bare: bool) -> Wanted:
    """Return the layer of a base's checkpoint, with other packages. Raises InputError on other processors."""
    package = _PACKAGES.get(architecture(), {}).get(KERNELS[0])
    if package is None:
        raise InputError(f"there is no kernel for {architecture()}")
    document = store.checkpoint_document(key) or {}
    made = document.get("created") or (store.checkpoint_document(str(document.get("raw"))) or {})["created"]
    return Wanted(key, package, (), int(made), extras, f"checkpoint:{key}", bare)


def epoch_of(manifest: Mapping[str, Any]) -> int:
    """Return when an image was made, in seconds since the epoch: the time of what is made from it."""
    import datetime

    return int(datetime.datetime.fromisoformat(str(manifest["created"])).timestamp())


def partition_uuid(image_id: str, part: str) -> uuid.UUID:
    """Return the id of a part of an image's disk, the same each time."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"stoneware disk {image_id} {part}")


def ensure_layer(store: Store, machines: Machines, wanted: Wanted, progress: Progress) -> Layer:
    """Return a kernel layer after making it, in a builder among `machines`, where it is missing.

    Raises BuildError where the kernel cannot be installed.
    """
    with contextlib.suppress(KeyError):
        return _known(store, wanted)
    # Held shared, as by a bake: `prune` takes nothing away meanwhile.
    with locked(store.build_lock_path(BAKES), shared=True), only_one(store, wanted.key, progress):
        with contextlib.suppress(KeyError):
            return _known(store, wanted)
        return _make(store, machines, wanted, progress)


def _known(store: Store, wanted: Wanted) -> Layer:
    document = store.checkpoint_document(wanted.key)
    if not document:
        raise KeyError(wanted.key)
    store.touch_checkpoint(wanted.key)
    return Layer(wanted.key, str(document["kernel"]))


@contextlib.contextmanager
def only_one(store: Store, key: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of a layer or disk that is made; say so where somebody else makes it."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(store.lock("disks", key, timeout=0))
        except TimeoutError:
            progress("waiting for another command that makes the same")
            held.enter_context(store.lock("disks", key))
        yield


def _make(store: Store, machines: Machines, wanted: Wanted, progress: Progress) -> Layer:
    from stoneware.platforms.local.disks import reuse  # not where a layer is there already

    why = ""
    for other in _like(store, wanted):
        try:
            return _from_other(store, wanted, other, progress)
        except reuse.Unlike as error:
            why = why or f": {error}"
    return _install(store, machines, wanted, progress, why)


def _like(store: Store, wanted: Wanted) -> list[Mapping[str, Any]]:
    """Return the documents, with their keys, of layers of other images made alike; the last one first."""
    if wanted.source:
        return []
    images, oldest = set(store.image_ids()), time.time() - _FRESH
    found: list[Mapping[str, Any]] = []
    for key in store.checkpoint_keys():
        document = store.checkpoint_document(key) if key.startswith(LAYERS) else None
        # With the image itself: the two images are compared, not their layers.
        if document and document.get("recipe") == wanted.recipe and document["image"] in images:
            found.append({**document, "key": key})
    fresh = [document for document in found if float(document["installed"]) > oldest]
    return sorted(fresh, key=lambda document: float(document["created"]), reverse=True)[:_MOST_TRIED]


def _from_other(store: Store, wanted: Wanted, other: Mapping[str, Any], progress: Progress) -> Layer:
    """Make a layer from that of another image. Raises Unlike where the two are not alike enough."""
    from stoneware.platforms.local.disks import reuse

    image, version = str(other["image"]), _checked(str(other["kernel"]))
    roots = reuse.Roots(
        store.image_rootfs(image),
        store.checkpoint_rootfs(str(other["key"])),
        store.image_rootfs(wanted.image),
    )
    names = (str(partition_uuid(found, "root")) for found in (image, wanted.image))
    with reuse.derived(store, roots, *names) as rootfs:
        # The time of the install, not of this copy: copies of copies would never become too old.
        store.save_checkpoint(wanted.key, rootfs, _document(wanted, version, float(other["installed"])))
    progress(f"took kernel {version} from an image that differs in its application alone")
    return Layer(wanted.key, version)


def _document(wanted: Wanted, version: str, installed: float) -> dict[str, Any]:
    return {
        "image": wanted.image,
        "package": wanted.package,
        "kernel": version,
        "created": time.time(),
        "installed": installed,
        "recipe": wanted.recipe,
    }


def _install(store: Store, machines: Machines, wanted: Wanted, progress: Progress, why: str) -> Layer:
    progress(f"installing {wanted.package} into a copy of the image (once{why})")

    def script(token: str) -> str:
        return kernel_layer.kernel_script({**_settings(wanted), "SW_TOKEN": token})

    source = wanted.source or f"image:{wanted.image}"
    with built(store, machines, source, script, progress, bare=wanted.bare) as made:
        rootfs, version = made
        store.save_checkpoint(wanted.key, rootfs, _document(wanted, version, time.time()))
    return Layer(wanted.key, version)


@contextlib.contextmanager
def built(
    store: Store,
    machines: Machines,
    source: str,
    script: Callable[[str], str],
    progress: Progress,
    *,
    files: Mapping[str, Path] = MappingProxyType({}),
    bare: bool = False,
) -> Iterator[tuple[Path, str]]:
    """Run a layer's script in a builder; give its root file system then, and the version of its kernel.

    `script` makes it for the token of its reports. The builder is gone at the end. A `bare` source has none
    of Stoneware's programs: it boots as any machine, which goes with this process. Raises BuildError where
    the script fails.
    """
    # As a bake's builder is called: where this process is killed, the next command finds its lock free.
    build = f"kernel-{secrets.token_hex(5)}"
    lock = store.build_lock_path(build)
    name, token = f"{build}-0", secrets.token_hex(8)
    with locked(lock), scratch_directory("stoneware-kernel-") as scratch:
        certificates = scratch / "ca.tar"
        certificates.write_bytes(_certificates())
        metadata = {
            "startup-script": script(token),
            guest_protocol.MODE: "build",
            guest_protocol.TOKEN: token,
            guest_protocol.GUEST_ATTRIBUTES: guest_protocol.TRUE,
        }
        given = {**files, "ca.tar": certificates}
        spec = MachineSpec(name, source, kind="builder", metadata=metadata, files=given)
        if bare:
            spec = MachineSpec(name, source, metadata=metadata, tied="remove")
        try:
            machines.create(spec)
            version = _follow(machines, name, token, progress)
            machines.stop(name, timeout=0)
            yield store.data / "machines" / name / "rootfs", version
        finally:
            machines.destroy(name)
    lock.unlink(missing_ok=True)


def _certificates() -> bytes:
    """Return what this computer trusts besides its distribution's certificates, as a tar."""
    import io
    import tarfile  # not where a layer is there already

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(_CERTIFICATES.rglob("*.crt")) if _CERTIFICATES.is_dir() else ():
            archive.add(path.resolve(), arcname=path.name)
    return stream.getvalue()


def _settings(wanted: Wanted) -> Mapping[str, str]:
    return {
        "KERNEL_PACKAGE": wanted.package,
        "FIRMWARE": "systemd-boot-efi",
        "EXTRAS": " ".join(wanted.extras),
        "ROOT_UUID": str(partition_uuid(wanted.image, "root")),
        "SOURCE_DATE_EPOCH": str(_EPOCH),
        "SKIPPED": "\n".join(wanted.skipped),
    }


def _follow(machines: Machines, name: str, token: str, progress: Progress) -> str:
    """Wait until the layer's agent is done, and return the version of the kernel. Raises BuildError."""
    deadline = time.monotonic() + _LONGEST
    looked, step = time.monotonic(), 1
    while time.monotonic() < deadline:
        report = _report(machines, name, token)
        if report is not None and report.state == "failed":
            raise BuildError(
                "the kernel cannot be installed into the image",
                details=report.message,
                resolution="stoneware run -it --rm IMAGE bash    # try there what failed: apt-get update",
            )
        if report is not None and report.state == "finished":
            return _checked(report.message)
        if report is not None and report.step > step:
            step = report.step
            progress(report.message)
        machine = machines.observe(name)
        if machine is None or machine.phase in (Phase.STOPPED, Phase.FAILED):
            raise BuildError("the builder of the kernel has ended", resolution="run the command again")
        if time.monotonic() - looked > 1:
            # Without its metadata server the builder could report nothing; it is started again here.
            machines.check_helpers()
            looked = time.monotonic()
        time.sleep(_POLL)
    raise BuildError(
        f"the kernel is not installed after {_LONGEST / 60:.0f} minutes",
        resolution="check that apt-get update works in a machine of this image",
    )


def _checked(version: str) -> str:
    """Return a kernel's version, which becomes part of names of files. Raises BuildError where it is none."""
    if not _VERSION.fullmatch(version):
        raise BuildError("the builder of the kernel reports a version that is none")
    return version


def _report(machines: Machines, name: str, token: str) -> BuildReport | None:
    try:
        return build_report_of(machines.guest_attributes(name), token)
    except InvalidReportError as error:
        raise BuildError("the builder of the kernel reports what cannot be", details=str(error)) from error
