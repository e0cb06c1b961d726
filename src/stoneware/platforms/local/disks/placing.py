"""A file that appears under its name whole or not at all, also where its writer is killed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from stoneware.errors import InputError

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


@contextlib.contextmanager
def appearing(target: Path, *, force: bool) -> Iterator[int]:
    """Give the descriptor of a new file without a name; at the end it gets the name. Readable by its owner.

    A program reaches it as /proc/self/fd/N. Where the file system has no files without a name, it is a hidden
    one next to the target, which a kill leaves. Raises InputError for a target that is there without `force`,
    and for one that cannot be a file.
    """
    check_target(target, force=force)
    descriptor, hidden = _nameless(target)
    try:
        yield descriptor
        os.fsync(descriptor)
        _name(descriptor, target, force=force)
    finally:
        os.close(descriptor)
        if hidden is not None:
            hidden.unlink(missing_ok=True)


def check_target(target: Path, *, force: bool) -> None:
    """Raise InputError for a target that is there without `force`, or cannot be a file."""
    if not target.parent.is_dir():
        raise InputError(f"there is no directory {target.parent}", resolution=f"mkdir -p {target.parent}")
    if target.is_dir():
        raise InputError(f"{target} is a directory", resolution=f"-o {target / 'disk.qcow2'}")
    if os.path.lexists(target) and not force:
        raise _there(target)


def _there(target: Path) -> InputError:
    return InputError(f"{target} is there already", resolution="--force    # replaces it; or another name")


def _nameless(target: Path) -> tuple[int, Path | None]:
    try:
        return os.open(target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    hidden = target.parent / f".{target.name}.{secrets.token_hex(6)}"
    return os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), hidden


def _name(descriptor: int, target: Path, *, force: bool) -> None:
    """Give a file its name. A link never replaces, so what somebody made meanwhile stays without `force`."""
    if not force:
        try:
            _link(descriptor, target)
        except FileExistsError:
            raise _there(target) from None
        return
    # A link cannot take the place of a file, a rename can: so it gets another name first.
    linked = target.parent / f".{target.name}.{secrets.token_hex(6)}"
    _link(descriptor, linked)
    try:
        linked.replace(target)
    finally:
        linked.unlink(missing_ok=True)


def _link(descriptor: int, target: Path) -> None:
    """Link an open file (linkat), which Python does where it has a descriptor of a directory."""
    directory = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(str(descriptor), target, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)
