"""Files written so that a kill at any instant leaves the old state or the new one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from stoneware.errors import InputError
from stoneware.records import DamagedError, read_record


def canonical_json(value: Any) -> bytes:
    """Return the one JSON spelling of a value (what is hashed): sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def look_at(path: Path) -> str:
    """Return the command that shows why a file cannot be read: itself, or the directory that lacks it."""
    place = next(place for place in (path, *path.absolute().parents, Path("/")) if os.path.lexists(place))
    return shlex.join(["ls", "-ld" if place == path else "-la", str(place)])


def write_atomic(path: Path, data: bytes | str, mode: int = 0o644, *, lasting: bool = True) -> None:
    """Replace a file's content by stage, fsync and rename. The directory must exist.

    What is not `lasting` outlasts a crash of ours, perhaps none of the computer: nobody waits for the disk.
    Raises InputError for text with bytes that are no UTF-8, as arguments of a command may have them.
    """
    import tempfile  # slow to load, and many commands write nothing

    raw = encoded(data) if isinstance(data, str) else data
    handle, staged = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            put_in_place(stream, Path(staged), path, mode, lasting=lasting)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise


def write_private(path: Path, text: str) -> None:
    """Replace a file for root alone by stage and rename. It need not outlast a crash of the computer."""
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
    staged.rename(path)


def put_in_place(stream: IO[bytes], staged: Path, path: Path, mode: int, *, lasting: bool = True) -> None:
    """Let the file `staged`, just written by `stream`, become `path` once all of it is on the disk."""
    stream.flush()
    # Before the rename, so that the name never leads to a file of another mode.
    os.fchmod(stream.fileno(), mode)
    if lasting:
        os.fsync(stream.fileno())  # without it a crash may leave the new name with nothing in it
    staged.replace(path)


def sync_directory(path: Path) -> None:
    """Have the names in a directory outlast a crash of this computer, as those that renames have made."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encoded(text: str, what: str = "a name or value") -> bytes:
    """Return text as UTF-8. Raises InputError about `what` for what Python keeps of bytes that are none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise not_utf8(error, what) from None


def not_utf8(error: UnicodeEncodeError, what: str = "a name or value") -> InputError:
    """Return the error for text that cannot be written down. It may be secret, so little of it is shown."""
    code = ord(error.object[error.start])
    kept = 0xDC80 <= code <= 0xDCFF  # how Python keeps a byte that is no UTF-8
    return InputError(
        f"{what} is not UTF-8 text",
        details=f"It has the byte 0x{code - 0xDC00:02x} where no character of UTF-8 has it."
        if kept
        else f"It has half a character, U+{code:04X}.",
        resolution="write it in UTF-8, or encode its bytes, in base64 for example",
    )


def write_json(path: Path, value: Any, mode: int = 0o644, *, lasting: bool = True) -> None:
    """Write a JSON document atomically, readable by people; `lasting` as `write_atomic` has it."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_atomic(path, text, mode, lasting=lasting)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a record, or None where there is no such file. Raises DamagedError: see `stoneware.records`."""
    return read_record(path)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, timeout: float | None = None) -> Iterator[int]:
    """Hold a flock on `path` (made if missing); raise TimeoutError after `timeout` seconds (None: never).

    The lock ends with the process, so a kill leaves nothing to clean up. Gives the descriptor that has the
    lock: a process that inherits it keeps the lock for as long as it lives.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except IsADirectoryError as error:
        fix = f"rmdir {shlex.quote(str(path))}"
        raise DamagedError(path, "is a directory where a lock belongs", resolution=fix) from error
    try:
        _acquire(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, kind: int, timeout: float | None) -> None:
    if timeout is None:
        fcntl.flock(descriptor, kind)
        return
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(0.02)  # flock knows no deadline
        else:
            return
