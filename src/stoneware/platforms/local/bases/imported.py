"""Bases from root file systems that somebody else has made: `stoneware import` unpacks one and bakes from it.

As with the bases that are made here, what came in is the checkpoint `raw-…`, and with the guest files laid
over it the checkpoint `base-…`. In between is `packages-…` where what came in lacks what machines need: the
bake installs that. `prune` takes all of them: the image that was baked from them holds it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stoneware.errors import InputError
from stoneware.files import canonical_json, sha256_hex
from stoneware.platforms.local.host.architecture import architecture
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from stoneware.untrusted.bounded import BoundsError

if TYPE_CHECKING:
    from stoneware.untrusted.extraction import Skipped
    from stoneware.untrusted.tarstream import Stream

_NAME = "imported"  # before the colon of a reference; no image can have it, since no tag has as many digits
_DIGITS = 40


def is_imported(reference: str) -> bool:
    """Say whether a reference stands for a root file system that was imported."""
    name, _, key = reference.partition(":")
    return name == _NAME and len(key) == _DIGITS and not set(key) - set("0123456789abcdef")


def references(store: Store) -> tuple[str, ...]:
    """Return the references of all that is imported and still there."""
    # Each bake asks: a look at the names alone, of which a store may have thousands.
    found = (path.name.removeprefix("raw-") for path in (store.data / "checkpoints").glob("raw-*"))
    return tuple(f"{_NAME}:{key}" for key in sorted(found) if _is_import(store, key))


def identity(store: Store, reference: str) -> str | None:
    """Return the identity of an imported base, None while it has to be made of what came in."""
    raw = _raw(reference)
    found = _identity(raw, _lacks(store, raw))
    return found if store.has_checkpoint(found) else None


def title(store: Store, reference: str) -> str:
    """Return what making an imported base is called."""
    from stoneware.platforms.local.bases import packages

    lacks = _lacks(store, _raw(reference))
    if lacks and not store.has_checkpoint(packages.key_of(_raw(reference), lacks)):
        return f"install what machines need: {', '.join(packages.packages_of(lacks))}"
    return "base from what was imported"


def import_root(store: Store, archive: Path, progress: Callable[[str], None]) -> str:
    """Unpack a tar archive into a base and return the reference that stands for it.

    What it lacks and can be installed is left to the first bake from it. Raises InputError for an archive
    that is damaged, too large, or no root file system that machines can have.
    """
    from stoneware.platforms.local.bases.imported_checks import check_root

    with store.staging(store.data / "checkpoints") as staged:
        root = staged / "rootfs"
        btrfs.create(root)
        root.chmod(0o755)
        with _opened(store, archive, progress) as content:
            key, skipped = _unpack(content, archive.name, root)
        lacks = check_root(root, archive)
        reference = f"{_NAME}:{key}"
        document = {"imported": archive.name, "created": time.time(), "lacks": lacks}
        store.save_checkpoint(_raw(reference), root, document)
    if told := [each for each in skipped.told if not each.startswith("dev/")]:  # machines have their own /dev
        progress(f"left out: {', '.join(told)}")
    if not lacks:
        ensure(store, reference, progress)
    elif identity(store, reference) is None:
        progress(f"it lacks what machines need: {', '.join(lacks)}; the bake installs that")
    return reference


def ensure(store: Store, reference: str, progress: Callable[[str], None]) -> str:
    """Make a base of what was imported, unless it is there: with the packages that it lacks, and the guest
    files laid over it. Return the identity.
    """
    from stoneware import process
    from stoneware.platforms.local.bases import packages
    from stoneware.platforms.local.platform import LocalPlatform  # it imports the store, which imports this

    raw = _raw(reference)
    if not store.has_checkpoint(raw):
        raise InputError(
            "what was imported is gone", details=reference, resolution="stoneware import FILE -t NAME"
        )
    lacks = _lacks(store, raw)
    found = _identity(raw, lacks)
    if not store.has_checkpoint(found):
        source = packages.ensure(store, LocalPlatform(store), raw, lacks, progress) if lacks else raw
        progress("laying Stoneware's guest files over it")
        with store.staging(store.data / "checkpoints") as staged:
            root = staged / "rootfs"
            btrfs.snapshot(store.checkpoint_rootfs(source), root, read_only=False)
            # By a process that makes this its root: no link in what came in leads out of it.
            process.run([sys.executable, "-P", "-m", "stoneware.guest.install_inside", str(root)])
            store.save_checkpoint(found, root, {**(store.checkpoint_document(raw) or {}), "raw": raw})
    store.touch_checkpoint(found)
    return found


@contextlib.contextmanager
def _opened(store: Store, file: Path, progress: Callable[[str], None]) -> Iterator[Stream]:
    """Open an archive, or the disk that a file holds, as a plain tar of a root file system."""
    # A bake that finds all it needs imports this module too.
    from stoneware.machinefile.archives import unpacked
    from stoneware.platforms.local.bases.imported_archives import begun
    from stoneware.platforms.local.disks.foreign import recognise

    if (disk := recognise(file)) is None:
        progress(f"unpacking {file.name}")
        with unpacked(str(file)) as content:
            yield begun(content, file)
        return
    from stoneware.platforms.local.disks.reader import root_archive

    with root_archive(store, disk, progress) as reading:
        yield reading
        reading.finish()


def _unpack(content: Stream, name: str, root: Path) -> tuple[str, Skipped]:
    """Unpack into an empty directory; return a digest of the archive's content and what was left out."""
    from stoneware.untrusted.extraction import extract_root, room

    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        stream = _Digested(content)
        skipped = extract_root(stream, directory, room(directory))
    except BoundsError as error:
        raise InputError(
            f"the archive {name} {error}", resolution="export the root file system again, as a tar"
        ) from None
    finally:
        os.close(directory)
    return sha256_hex(canonical_json([stream.digest.hexdigest(), architecture()]))[:_DIGITS], skipped


class _Digested:
    """A stream whose content is digested on its way."""

    def __init__(self, stream: Stream) -> None:
        self.digest = hashlib.sha256()
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


def _raw(reference: str) -> str:
    return f"raw-{reference.partition(':')[2]}"


def _is_import(store: Store, key: str) -> bool:
    return "imported" in (store.checkpoint_document(f"raw-{key}") or {})


def _lacks(store: Store, raw: str) -> Mapping[str, str]:
    """Return the programs that what came in lacks, with their packages."""
    return (store.checkpoint_document(raw) or {}).get("lacks") or {}


def _identity(raw: str, lacks: Mapping[str, str]) -> str:
    from stoneware import guest
    from stoneware.platforms.local.bases import packages

    source = packages.key_of(raw, lacks) if lacks else raw
    return "base-" + sha256_hex(canonical_json([source, guest.digest(), architecture()]))[:40]
