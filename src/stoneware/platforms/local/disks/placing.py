"""A file that appears under its name whole or not at all, also where its writer is killed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from stoneware.errors import HostError, InputError

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


@contextlib.contextmanager
def appearing(target: Path, *, force: bool) -> Iterator[int]:
    """Give the descriptor of a new file without a name; at the end it gets the name. Readable by its owner.

    A program reaches it as /proc/self/fd/N. Where the file system has no files without a name, it is a hidden
    one next to the target, which a kill leaves. Raises InputError for a target that is there without `force`,
    and for one that cannot be a file; HostError where it cannot be written.
    """
    check_target(target, force=force)
    # As a redirection does: a link that is there stays, and what it leads to is replaced.
    place = Path(os.path.realpath(target)) if force else target
    with _in_words(target):
        descriptor, hidden = _nameless(place)
    try:
        yield descriptor
        with _in_words(target):
            os.fsync(descriptor)
            _name(descriptor, place, force=force)
    finally:
        os.close(descriptor)
        if hidden is not None:
            hidden.unlink(missing_ok=True)


def check_target(target: Path, *, force: bool) -> None:
    """Raise InputError for a target that is there without `force`, or cannot be a file."""
    if not target.parent.is_dir():
        raise InputError(f"there is no directory {target.parent}", resolution=f"mkdir -p {target.parent}")
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG  # none, or a link that leads nowhere
    except OSError as error:  # a name that is too long, links in a circle
        raise InputError(f"{target} cannot be a file: {error.strerror}", resolution="another name") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{target} is a directory", resolution=f"-o {target / 'disk.qcow2'}")
    if not stat.S_ISREG(mode):  # replacing it would leave a file where the device was
        block = stat.S_ISBLK(mode)
        raise InputError(
            f"{target} is a {'device' if block or stat.S_ISCHR(mode) else 'pipe or socket'} and no file",
            resolution=f"-o disk.raw    # then: dd if=disk.raw of={target} bs=4M"
            if block
            else f"-o - >{target}",
        )
    if os.path.lexists(target) and not force:
        raise _there(target)


def no_room(target: Path, details: str) -> HostError:
    """Return the error of a target whose file system is full."""
    return HostError(
        f"there is no room for {target}",
        details=details,
        resolution=f"df -h {target.parent}    # make room there, then run the command again",
    )


@contextlib.contextmanager
def _in_words(target: Path) -> Iterator[None]:
    """Say of which file it is that it cannot be written: others would take it for one of the store."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(target, why) from error
        raise HostError(
            f"{target} cannot be written", details=why, resolution="-o a file in another directory"
        ) from error


def _there(target: Path) -> InputError:
    return InputError(f"{target} is there already", resolution="--force    # replaces it; or another name")


def _nameless(target: Path) -> tuple[int, Path | None]:
    try:
        return os.open(target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    hidden = _hidden(target)
    return os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), hidden


def _hidden(target: Path) -> Path:
    # Without the target's name, with which it might be too long for one.
    return target.parent / f".stoneware-{secrets.token_hex(6)}"


def _name(descriptor: int, target: Path, *, force: bool) -> None:
    """Give a file its name. A link never replaces, so what somebody made meanwhile stays without `force`."""
    if not force:
        try:
            _link(descriptor, target)
        except FileExistsError:
            raise _there(target) from None
        return
    # A link cannot take the place of a file, a rename can: so it gets another name first.
    linked = _hidden(target)
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
