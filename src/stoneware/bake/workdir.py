"""The directory of one bake that is under way, and what is done with those that were killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from stoneware.errors import StonewareError
from stoneware.files import locked
from stoneware.platforms.protocols import BAKED, Images, Platform
from stoneware.untrusted.removal import remove_tree

_PREFIX = "bake-"
SECRET_FILES = "secret-"  # noqa: S105 - begins the names of files that hold secrets, or what they look like
# Starts a process that removes what a finished bake has left. It gets the bake's id and the descriptor of the
# bake's lock, which that process is to hold until it ends.
Leave = Callable[[str, int], None]


@contextlib.contextmanager
def workspace(store: Images, platform: Platform, leave: Leave | None = None) -> Iterator[Path]:
    """Make a directory for one bake; its lock says that the bake lives.

    At the end it is removed, however the bake ended, unless there may still be a builder in it. Then the next
    command does that, or where the bake succeeded the process that `leave` starts, which inherits the lock.
    """
    import secrets

    build_id = f"{_PREFIX}{secrets.token_hex(4)}"
    lock = store.build_lock_path(build_id)
    with locked(lock) as descriptor:
        directory = store.build_path(build_id)
        directory.mkdir(mode=0o700)  # secrets of the bake lie in there
        try:
            yield directory
            if leave is not None and platform.has_builders(directory):
                _leave_to(leave, directory, descriptor)
                return
        except BaseException:
            # With a builder, Terraform's state may be in there, by which the next command destroys it.
            if not platform.has_builders(directory):
                _remove(directory, lock)
            raise
        if not platform.has_builders(directory):
            _remove(directory, lock)


def _leave_to(leave: Leave, directory: Path, lock: int) -> None:
    # First, since what comes next may be killed, and no secret is needed any more.
    for path in (*directory.glob(f"{SECRET_FILES}*"), *directory.glob(f"*/{SECRET_FILES}*")):
        path.unlink()
    # After this the next command waits for the lock, as it does for no bake that still builds.
    (directory / BAKED).touch()
    leave(directory.name, lock)


def _remove(directory: Path, lock: Path) -> None:
    remove_tree(directory)  # whose bundle may hold trees of stages: of any depth
    lock.unlink(missing_ok=True)


def builder_directory(bake: Path, stage: int) -> Path:
    """Return (and make) the directory of one stage's builder."""
    directory = bake / f"stage-{stage}"
    directory.mkdir(exist_ok=True)
    return directory


def remove_leftovers(store: Images, platform: Platform, build_id: str) -> str:
    """Destroy the builders that a bake has left, then its directory, under its lock; tell what was done."""
    directory = store.build_path(build_id)
    done = ": its builder is destroyed" if platform.remove_builders(directory) else ""
    _remove(directory, store.build_lock_path(build_id))
    return done


def recover(store: Images, platform: Platform, *, patience: float = 0) -> list[str]:
    """Destroy the builders of bakes that were killed; tell what was done.

    Cheap where there is nothing to do. What cannot be removed is told as well, and tried again next time.
    What a finished bake has left to a process is waited for, `patience` seconds at most.
    """
    parent = store.build_path("any").parent
    left = sorted(parent.glob(f"{_PREFIX}*")) if parent.is_dir() else []
    return [said for path in left if (said := _recover_one(store, platform, path, patience))]


def _recover_one(store: Images, platform: Platform, directory: Path, patience: float) -> str:
    lock = store.build_lock_path(directory.name)
    baked = (directory / BAKED).exists()
    try:
        # A bake that still builds is not waited for: it may take hours.
        with locked(lock, timeout=patience if baked else 0):
            if not directory.is_dir():
                lock.unlink(missing_ok=True)  # taking it has made it
                return ""
            done = remove_leftovers(store, platform, directory.name)
    except TimeoutError:
        return ""  # it lives
    except (StonewareError, OSError) as error:
        said = error.brief if isinstance(error, StonewareError) else str(error)
        return f"cannot remove what the interrupted bake {directory.name} left behind: {said}"
    return f"removed what the interrupted bake {directory.name} had left{done}"
