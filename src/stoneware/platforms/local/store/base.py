"""What all parts of the store share: where it is, its locks, and how something new is made in it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from stoneware.errors import HostError, InputError
from stoneware.files import locked
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.in_use import Known

DEFAULT_HOME = Path("/var/lib/stoneware")
_UNUSABLE = frozenset("\\:,;\"'`$%*?<>|&")
_BROKEN = ".broken-"
NOUNS = {
    "checkpoints": "checkpoint",
    "images": "image",
    "machines": "machine",
    "volumes": "volume",
    "snapshots": "snapshot",
    "networks": "network",
    "cache": "cache",
    "builds": "bake directory",
    "disks": "disk",
}


def home_path(home: Path | None = None) -> Path:
    """Return the store's directory: the one given, else STONEWARE_HOME, else /var/lib/stoneware."""
    try:
        found = (home or Path(os.environ.get("STONEWARE_HOME") or DEFAULT_HOME)).absolute()
    except FileNotFoundError as error:  # a relative path, in a directory that is gone
        raise InputError(
            "STONEWARE_HOME is a relative path, and the working directory is gone",
            resolution="cd    # or STONEWARE_HOME=/a/directory stoneware …",
        ) from error
    if not str(found).isprintable() or set(str(found)) & _UNUSABLE:
        raise InputError(
            f"the store cannot be in {str(found)!r}",
            details="Mount options and rules name it: no control characters, and none of "
            f"{' '.join(sorted(_UNUSABLE))} may be in it.",
            resolution="STONEWARE_HOME=/a/plain/directory stoneware …",
        )
    return found


class StoreBase:
    """The directories, locks and staging of a store; see Store for the layout."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.known = Known(self.data / "machines")

    def lock_path(self, kind: str, name: str) -> Path:
        """Return the flock file of one object, e.g. ("machines", "web")."""
        return self.home / "locks" / kind / f"{name}.lock"

    @contextlib.contextmanager
    def lock(self, kind: str, name: str, *, timeout: float | None = None) -> Iterator[None]:
        """Hold an object's lock; raises TimeoutError after `timeout` seconds (None waits for ever).

        All that changes an object holds it, so the words for a full disk are here.
        """
        with store_errors.clear_errors(self.home), locked(self.lock_path(kind, name), timeout=timeout):
            yield

    @contextlib.contextmanager
    def staging(self, parent: Path) -> Iterator[Path]:
        """Give a new directory next to its final place; what is not renamed away is removed at the end."""
        import secrets

        token = secrets.token_hex(8)
        lock = self.lock_path("staged", token)
        # The lock before the directory: one that is free says that the maker is gone.
        with store_errors.clear_errors(self.home), locked(lock):
            parent.mkdir(mode=0o700, exist_ok=True)  # a store of an earlier Stoneware lacks some
            staged = parent / f".staged-{token}"
            staged.mkdir(mode=0o700)
            try:
                yield staged
            except BaseException:
                with contextlib.suppress(OSError):  # the next command tries again, and tells
                    btrfs.remove_tree(staged)
                lock.unlink(missing_ok=True)
                raise
            self.remove_remains(staged)
            lock.unlink(missing_ok=True)

    def discard(self, path: Path) -> None:
        """Remove an object: renamed away first, so that no reader sees half of it; missing is no error.

        A disk that is so full that nothing can be renamed must not keep anybody from making room.
        """
        try:
            with self.staging(path.parent) as staged, contextlib.suppress(FileNotFoundError):
                path.rename(staged / "gone")
        except store_errors.StoreFull:
            with store_errors.clear_errors(self.home):
                # In place, then; the records first, so that what a kill leaves does not look whole.
                for record in ("spec.json", "document.json", "manifest.json"):
                    (path / record).unlink(missing_ok=True)
                btrfs.remove_tree(path)

    def stale_staged(self) -> list[Path]:
        """Return the staged directories whose maker is gone."""
        stale = []
        for parent in self.data.iterdir():
            for entry in parent.glob(".staged-*"):
                lock = self.lock_path("staged", entry.name.removeprefix(".staged-"))
                with contextlib.suppress(TimeoutError), locked(lock, timeout=0):
                    lock.unlink(missing_ok=True)
                    stale.append(entry)
        return stale

    def remove_remains(self, path: Path) -> None:
        """Remove what belongs to nothing any more. Raises HostError where that fails.

        It is then put aside, where only `prune` tries again: it must not be in the way of every command.
        """
        try:
            btrfs.remove_tree(path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise  # `clear_errors` has the words for it, and it passes
            name = path.name.removeprefix(".staged-").removeprefix(_BROKEN)
            aside = path.with_name(f"{_BROKEN}{name}")
            with contextlib.suppress(OSError):
                path.rename(aside)
            raise HostError(
                f"the remains of a {NOUNS.get(path.parent.name, 'thing')} cannot be removed",
                details=f"{aside}: {error}",
                resolution="stoneware prune    # tries again",
            ) from error

    def broken(self) -> list[Path]:
        """Return the remains that could not be removed and were put aside."""
        return [entry for parent in sorted(self.data.iterdir()) for entry in parent.glob(f"{_BROKEN}*")]
