"""The seccomp filters of systemd-nspawn, ready: compiling them is a fifth of the work of a machine's start.

They depend on systemd, libseccomp and the kernel alone. At the first start in a boot of this computer
systemd-nspawn runs a program of this computer's (cat), and the kernel tells which filters it has loaded for
it. From then on systemd-nspawn begins with these (ready_filters.pl) and is told to make none. They are in use
only if a second run with them has ended up with the very same ones.

No machine is ever looked at: what runs there may have loaded others. Where anything is missing, damaged or
different, nothing is ready, and systemd-nspawn compiles them as ever.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import select
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.files import locked, sha256_hex, write_atomic
from stoneware.platforms.local.host import cgroups
from stoneware.scratch import scratch_directory

KEPT = Path("/run/stoneware/seccomp")  # a kernel has its own with its boot
_MAGIC = b"swbpf-1\n"
_HEAD = struct.Struct("=8s32sI")  # magic, digest of what follows, how many filters
_EACH = struct.Struct("=II")  # flags of seccomp(2), bytes
_MOST_FILTERS, _MOST_SIZE = 64, 4096 * 8  # the kernel's limit of one
_CALLS = {"x86_64": 317, "aarch64": 277}  # seccomp(2), for programs of the kernel's own width
_LIBRARIES = ("libseccomp.so.2", "systemd/libsystemd-shared-*.so")
_MACHINE = "stoneware-filters"
_PATIENCE = 10.0  # seconds for a program to start in a container
# A full disk or a busy computer says nothing about filters.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR}
_LOADER = Path(__file__).with_suffix(".pl")
# Requests of ptrace(2), by their numbers on all of these.
_SEIZE, _INTERRUPT, _DETACH, _GET_FILTER, _GET_METADATA = 0x4206, 0x4207, 17, 0x420C, 0x420D
_WAIT_ALL = 0x40000000  # __WALL


@dataclass(frozen=True)
class Filter:
    """One program of the kernel's filter machine, and the flags it was loaded with."""

    flags: int
    code: bytes


class NotReadyError(Exception):
    """Why no filters are ready; systemd-nspawn makes its own then."""


def prefix(scratch: Path) -> list[str]:
    """Return the words that have the command behind them begin with ready filters; none where there are none.

    `scratch` is a directory on the file system that machines are on.
    """
    perl = process.which("perl")
    call = _CALLS.get(platform.machine())
    nspawn = process.which("systemd-nspawn")
    if perl is None or call is None or nspawn is None:
        return []
    try:
        path = KEPT / _key(nspawn)
        if not path.exists():
            _make(path, scratch, [str(perl), str(_LOADER), str(path), str(call)])
        decode(path.read_bytes())
    except (OSError, NotReadyError):
        return []
    return [str(perl), str(_LOADER), str(path), str(call)]


def encode(filters: Sequence[Filter]) -> bytes:
    """Return filters, the oldest first, as they are kept."""
    body = b"".join(_EACH.pack(one.flags, len(one.code)) + one.code for one in filters)
    return _HEAD.pack(_MAGIC, hashlib.sha256(body).digest(), len(filters)) + body


def decode(text: bytes) -> list[Filter]:
    """Return the filters in a file. Raises NotReadyError where it is not whole, or has none."""
    if len(text) < _HEAD.size:
        raise NotReadyError("the file has no filters")
    magic, digest, count = _HEAD.unpack_from(text)
    body = text[_HEAD.size :]
    if magic != _MAGIC or hashlib.sha256(body).digest() != digest or not 0 < count <= _MOST_FILTERS:
        raise NotReadyError("the file is damaged")
    filters, place = [], 0
    for _ in range(count):
        if place + _EACH.size > len(body):
            raise NotReadyError("the file is too short")
        flags, length = _EACH.unpack_from(body, place)
        code = body[place + _EACH.size : place + _EACH.size + length]
        place += _EACH.size + length
        if len(code) != length or not 0 < length <= _MOST_SIZE or length % 8:
            raise NotReadyError("a filter is not whole")
        filters.append(Filter(flags, code))
    if place != len(body):
        raise NotReadyError("the file is too long")
    return filters


def _key(nspawn: Path) -> str:
    """Return what the filters depend on, as a name: another systemd, libseccomp or kernel has others."""
    # Without the host's name, which changes nothing in them.
    known = [" ".join(os.uname()[2:]), _identity(nspawn), _identity(_LOADER)]
    for directory in (Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu")):
        known += [_identity(path) for name in _LIBRARIES for path in sorted(directory.glob(name))]
    return sha256_hex("\n".join(known).encode())


def _identity(path: Path) -> str:
    real = path.resolve()
    status = real.stat()
    return f"{real} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _make(path: Path, scratch: Path, loader: Sequence[str]) -> None:
    """Write the filters of this computer; an empty file where there are none to be had here."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path.parent / "lock"):
        if path.exists():
            return
        trial = path.with_suffix(".trial")
        try:
            with scratch_directory("stoneware-seccomp-", scratch) as directory:
                found = capture(directory)
                text = encode(found)
                trial.write_bytes(text)
                words = [str(trial) if word == str(path) else word for word in loader]
                if capture(directory, words) != found:
                    text = b""
        except NotReadyError:
            text = b""
        except OSError as error:
            if error.errno in _PASSING:  # the next start has another try
                return
            text = b""
        finally:
            trial.unlink(missing_ok=True)
        write_atomic(path, text, mode=0o600)


def capture(directory: Path, loader: Sequence[str] = ()) -> list[Filter]:
    """Return the filters of a program of this computer's that systemd-nspawn runs, the oldest first.

    Raises NotReadyError. Its root is made in an empty directory, or is there already.
    """
    root = directory / "root"
    if not root.exists():
        _make_root(root)
    # As machines are started (`machines.nspawn`): by other options the filters may be others.
    words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe"]
    words += ["--private-users=pick", "--private-users-ownership=map", "--private-network"]
    words += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
    words += [f"--machine={_MACHINE}", "--bind-ro=/usr", "-D", str(root), "/usr/bin/cat"]
    with _running([*loader, *words]) as container:
        return read_filters(_payload(container))


def _make_root(root: Path) -> None:
    root.mkdir(mode=0o755)
    (root / "usr").mkdir(mode=0o755)
    for path in Path("/").iterdir():  # /bin, /lib64 and so on
        if path.is_symlink() and str(path.readlink()).lstrip("/").startswith("usr/"):
            (root / path.name).symlink_to(path.readlink())


@contextlib.contextmanager
def _running(words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run cat in a container; it has begun when it repeats a line."""
    # As in shim.sh: systemd-nspawn cleans this up only when it is on a file system of its own.
    script = (
        'mkdir -p /run/systemd/nspawn && mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn && exec "$@"'
    )
    group = ("systemd-run", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--")
    argv = [
        *(group if cgroups.probe().systemd else ()),
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        *words,
    ]
    container = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=process.tool_environment(),
    )
    with container:
        try:
            _await_line(container)
            yield container
        finally:
            container.kill()


def _await_line(container: subprocess.Popen[bytes]) -> None:
    if container.stdin is None or container.stdout is None:
        raise NotReadyError("there are no pipes")
    with contextlib.suppress(BrokenPipeError):
        container.stdin.write(b"\n")
        container.stdin.flush()
    if not select.select([container.stdout], [], [], _PATIENCE)[0] or container.stdout.read(1) != b"\n":
        raise NotReadyError("systemd-nspawn does not start a program")


def _payload(container: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
    found = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "cat\n"]
    if len(found) != 1:
        raise NotReadyError("there is no such program")
    return found[0]


def read_filters(pid: int) -> list[Filter]:
    """Return a process's filters, the oldest first. Raises OSError, as where this process has some itself."""
    with _stopped(pid):
        filters: list[Filter] = []
        while len(filters) <= _MOST_FILTERS:
            count = _ask(_GET_FILTER, pid, len(filters), None)
            if count is None:
                return filters
            code = bytearray(count * 8)
            _ask(_GET_FILTER, pid, len(filters), code)
            metadata = bytearray(struct.pack("=QQ", len(filters), 0))
            _ask(_GET_METADATA, pid, len(metadata), metadata)
            filters.append(Filter(struct.unpack("=QQ", metadata)[1], bytes(code)))
    raise NotReadyError("it has too many filters")


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """Stop a process, as a debugger does."""
    _ask(_SEIZE, pid, 0, None)
    try:
        _ask(_INTERRUPT, pid, 0, None)
        os.waitpid(pid, _WAIT_ALL)
        yield
    finally:
        _ask(_DETACH, pid, 0, None)


def _ask(request: int, pid: int, number: int, buffer: bytearray | None) -> int | None:
    """Make a request of ptrace(2); None is the answer where there is no such thing. Raises OSError."""
    import ctypes  # once in a boot

    call = ctypes.CDLL(None, use_errno=True).ptrace
    # ctypes takes results for int, which would cut these off.
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    place = (ctypes.c_char * len(buffer)).from_buffer(buffer) if buffer is not None else None
    result = int(call(request, pid, number, place))
    if result >= 0:
        return result
    code = ctypes.get_errno()
    if code == errno.ENOENT:
        return None
    raise OSError(code, os.strerror(code))
