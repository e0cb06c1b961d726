"""The disks of images in the store: made when one is asked for, once per image, and only ever read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import canonical_json, locked, sha256_hex, write_json
from stoneware.model.limits import SMALLEST_DISK
from stoneware.platforms.local.disks import kernel
from stoneware.platforms.local.disks.layout import MIB, VERSION, Layout, NoRoom
from stoneware.platforms.local.host.architecture import architecture
from stoneware.platforms.local.host.requirements import DISK_TOOLS, check
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKES, Machines
from stoneware.records import whole

Progress = Callable[[str], None]


@dataclass(frozen=True)
class StoredDisk:
    """A disk in the store: of which image, how large, with which kernel."""

    key: str
    image: str
    kernel: str
    size: int
    path: Path


def copy_disk(
    store: Store,
    machines: Machines,
    image_id: str,
    target: Path,
    progress: Progress,
    *,
    size: int | None = None,
    agent: bool = False,
) -> None:
    """Write an image's disk to a new file, the caller's to write to; `size` bytes large if that is more.

    With `agent` it is one that commands get into, for a machine here. `machines` starts the builder of a
    disk that is missing. Blocks are shared where the file is in the store. The root file system grows to the
    size at its first boot. Raises InputError for a size that is too small.
    """
    check_possible(size)
    while True:
        found = ensure_disk(store, machines, image_id, progress, agent=agent)
        check_size(found, size)
        try:
            with found.path.open("rb") as reader, target.open("xb") as writer:
                os.fchmod(writer.fileno(), 0o600)
                _copy_content(reader.fileno(), writer.fileno(), found.path, target)
                break
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise
            target.unlink(missing_ok=True)  # removed meanwhile: it is made again
    if size is not None and size > found.size:
        enlarge(target, size)


def _copy_content(reader: int, writer: int, source: Path, target: Path) -> None:
    try:
        btrfs.share_blocks(reader, writer)
    except OSError:  # another file system: what is a hole there is one here
        process.run(["cp", "--sparse=always", "--reflink=never", "--no-preserve=all", source, target])


def copy_kept(disk: Path, target: Path, size: int | None) -> None:
    """Write a copy of a disk in the store to a new file, which shares its blocks and may be larger.

    Raises InputError where there is none.
    """
    try:
        with disk.open("rb") as reader, target.open("xb") as writer:
            os.fchmod(writer.fileno(), 0o600)
            _copy_content(reader.fileno(), writer.fileno(), disk, target)
    except FileNotFoundError as error:
        raise InputError("there is no disk to boot from", details=str(disk.parent)) from error
    if size is not None and size > target.stat().st_size:
        enlarge(target, size)


def enlarge(disk: Path, size: int) -> None:
    """Make a disk larger, with the second copy of its table at the new end."""
    os.truncate(disk, size)
    process.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--relocate", "gpt-bak-std", disk])


def check_possible(size: int | None) -> None:
    """Raise InputError for a size that no disk can have: before one is assembled for a minute.

    A system takes more than the least, which is known once it is assembled: `check_size`.
    """
    if size is not None and (size < SMALLEST_DISK or size % MIB):
        raise InputError(
            f"the disk cannot be {size} bytes large",
            details=f"It is a whole number of MiB, and {SMALLEST_DISK // MIB} MiB at least.",
            resolution="--size 10g    # or none: then it is as small as it can be",
        )


def check_size(found: StoredDisk, size: int | None) -> None:
    """Raise InputError for a possible size that is smaller than the disk."""
    if size is None or size >= found.size:
        return
    least = -(-found.size // MIB)
    raise InputError(
        f"the disk cannot be {size} bytes large",
        details=f"The image takes {least} MiB.",
        resolution=f"--size {least}m    # or more",
    )


def ensure_disk(
    store: Store, machines: Machines, image_id: str, progress: Progress, *, agent: bool = False
) -> StoredDisk:
    """Return the disk of an image, made where it is missing; to be read only.

    `prune` and `rmi` may remove it at any later time: use `copy_disk` for a machine. Raises InputError where
    the image is to have no kernel, HostError where this computer lacks a tool or room.
    """
    check(DISK_TOOLS)
    wanted = kernel.wanted_layer(store, image_id, agent=agent)
    key = sha256_hex(canonical_json([wanted.key, VERSION]))[:40]
    if (found := _stored(store, key)) is not None:
        return found
    # Held shared, as by a bake: `prune` takes nothing away meanwhile.
    with locked(store.build_lock_path(BAKES), shared=True), kernel.only_one(store, key, progress):
        if (found := _stored(store, key)) is not None:
            return found
        layer = kernel.ensure_layer(store, machines, wanted, progress)
        return _make(store, wanted, layer, key, progress)


def _make(
    store: Store, wanted: kernel.Wanted, layer: kernel.Layer, key: str, progress: Progress
) -> StoredDisk:
    disks = _directory(store)
    started = time.monotonic()
    progress("assembling the disk (once)")
    with store.staging(disks) as staged:
        disk = staged / "disk.raw"
        chosen = assemble_layer(store, wanted, layer, disk, progress)
        # Machines and exports have copies: nothing may write to this one.
        disk.chmod(0o400)
        with disk.open("rb") as stream:
            os.fsync(stream.fileno())
        document = {
            "image": wanted.image,
            "kernel": layer.version,
            "layer": layer.key,
            "size": chosen.size,
            "created": time.time(),
        }
        write_json(staged / "document.json", document)
        with contextlib.suppress(FileExistsError):
            staged.rename(disks / key)
    progress(f"assembled a disk of {chosen.size // MIB} MiB in {time.monotonic() - started:.0f} s")
    found = _stored(store, key)
    assert found is not None  # noqa: S101 (we hold its lock)
    return found


def assemble_layer(
    store: Store, wanted: kernel.Wanted, layer: kernel.Layer, target: Path, progress: Progress
) -> Layout:
    """Write the disk of a kernel layer to a new file, and return its layout. Raises HostError."""
    from stoneware.platforms.local.disks import assembly  # not where a disk is there already

    parts = assembly.Parts(
        image=wanted.image,
        root=store.checkpoint_rootfs(layer.key),
        kernel=layer.version,
        architecture=architecture(),
        epoch=wanted.epoch,
    )
    try:
        return assembly.assemble(parts, target, progress)
    except NoRoom as error:
        raise store_errors.full(store.home, error.details) from error


def _directory(store: Store) -> Path:
    """Return the directory of the disks; a store of an earlier Stoneware has none."""
    found = store.data / "disks"
    found.mkdir(exist_ok=True, mode=0o700)
    return found


def _stored(store: Store, key: str) -> StoredDisk | None:
    directory = store.data / "disks" / key
    document = whole(directory / "document.json")
    if not document or not (directory / "disk.raw").exists():
        return None
    return StoredDisk(
        key, str(document["image"]), str(document["kernel"]), int(document["size"]), directory / "disk.raw"
    )


def stored_disks(store: Store) -> Iterator[StoredDisk]:
    """Yield the disks in the store. One whose record is damaged is of no image."""
    for path in sorted((store.data / "disks").glob("[!.]*")):
        yield _stored(store, path.name) or StoredDisk(path.name, "", "", 0, path / "disk.raw")


def remove_disk(store: Store, key: str) -> None:
    """Remove a disk; a missing one is no error. Machines have copies of their own."""
    with store.lock("disks", key):
        store.discard(store.data / "disks" / key)


def forget_image(store: Store, image_id: str) -> None:
    """Remove the disks and kernel layers of an image."""
    for disk in stored_disks(store):
        if disk.image == image_id:
            remove_disk(store, disk.key)
    for key in store.checkpoint_keys():
        if key.startswith(kernel.LAYERS) and layer_image(store, key) == image_id:
            store.remove_checkpoint(key)


def layer_image(store: Store, key: str) -> str:
    """Return the image that a kernel layer is of."""
    return str((store.checkpoint_document(key) or {}).get("image", ""))
