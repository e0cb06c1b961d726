"""The host's side of a running machine's door: its sockets and terminals, reached without entering it.

No process of this computer is seen in the machine; what mounts a disk there (mounting.py) alone joins some of
its namespaces, and not that of processes. Paths below its root are resolved by the kernel as
the machine sees them (openat2), so none of its links leads out, and what is found is held by a descriptor and
looked at before it is used. A machine may mount file systems that never answer; so all of this happens in a
thread that is waited for with a deadline.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from stoneware.dataclass import dataclass
from stoneware.errors import MachineError
from stoneware.platforms.local.machines.record import Paths, shown_processes

_LIBC = ctypes.CDLL(None, use_errno=True)
_OPENAT2 = 437  # on all architectures
# 147 is its number on all newer architectures (asm-generic/unistd.h).
_SETRESUID = {"x86_64": 117}.get(os.uname().machine, 147)
_IN_ROOT, _NO_MAGIC_LINKS = 0x10, 0x02  # openat2(2): RESOLVE_…
_UNCHANGED = -1
_DEVPTS = 0x1CD1  # statfs(2)
_PTMX = os.makedev(5, 2)
_LOCK, _NUMBER, _PEER = 0x40045431, 0x80045430, 0x5441  # ioctl_tty(2): TIOCSPTLCK, TIOCGPTN, TIOCGPTPEER
_STATFS_SIZE = 256  # bytes, more than the structure has
_TIMEOUT = 10.0  # seconds for the file systems of a machine to answer
_POLL = 0.01  # seconds between two tries to connect

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ids:
    """Where a machine's user and group 0 are among those of this computer."""

    uid: int
    gid: int


@dataclass
class Terminal:
    """A new pty of a machine: our end, the machine's (kept open so that ours lasts), and its name inside."""

    master: int
    slave: int
    path: str

    def close_slave(self) -> None:
        """Close the machine's end: ours ends with the last one that the machine has."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        """Hang up."""
        self.close_slave()
        os.close(self.master)


class Door:
    """A running machine's root directory and ids; valid for the very process that was found, and no other."""

    def __init__(self, paths: Paths) -> None:
        """Open the door of a machine. Raises MachineError where it does not run."""
        self.machine = paths.name
        leader = shown_processes(paths).leader
        try:
            self._process = os.open(f"/proc/{leader}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._not_running() from None
        try:
            # The same process before and after: the descriptor is of no other one that got its number.
            self._check(running=leader is not None and shown_processes(paths).leader == leader)
            self.ids = Ids(self._first("uid_map"), self._first("gid_map"))
        except (FileNotFoundError, ProcessLookupError):
            os.close(self._process)
            raise self._not_running() from None
        except BaseException:
            os.close(self._process)
            raise

    def _check(self, *, running: bool) -> None:
        if not running:
            raise self._not_running()

    def _not_running(self) -> MachineError:
        return MachineError(
            f"the machine {self.machine!r} is not running", resolution=f"stoneware start {self.machine}"
        )

    def close(self) -> None:
        """Let go of the machine."""
        os.close(self._process)

    def _first(self, table: str) -> int:
        """Return the id on this computer of the machine's 0, as systemd-nspawn has set it for good."""
        descriptor = os.open(table, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._process)
        with os.fdopen(descriptor) as stream:
            rows = [line.split() for line in stream]
        # 0 stands for this computer's own root, which no machine may be.
        found = next((int(row[1]) for row in rows if row[0] == "0"), 0)
        if not found:
            raise MachineError(
                f"the machine {self.machine!r} has no user ids of its own",
                resolution=f"stoneware restart {self.machine}",
            )
        return found

    def alive(self) -> bool:
        """Say whether the machine's first process lives."""
        try:
            descriptor = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._process)
            with os.fdopen(descriptor, "rb") as stream:
                # A process names itself, brackets included: the state stands behind the last one.
                return stream.read().rpartition(b") ")[2][:1] not in (b"Z", b"X", b"")
        except (FileNotFoundError, ProcessLookupError):
            return False

    def connect(self, path: str, timeout: float) -> socket.socket:
        """Connect to a socket of the machine as its root, waiting for it to be there.

        Raises MachineError after `timeout` seconds, or where there is something else.
        """
        return self._bounded(lambda: self._connect(path, timeout), timeout + _TIMEOUT)

    def _connect(self, path: str, timeout: float) -> socket.socket:
        deadline = time.monotonic() + timeout
        connection = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            while True:
                # A process that has ended has no root any more: that is seen below.
                with contextlib.suppress(
                    FileNotFoundError, ProcessLookupError, ConnectionRefusedError, BlockingIOError
                ):
                    self._try_to_connect(connection, path)
                    return connection
                self._check(running=self.alive())
                self._check_time(deadline)
                time.sleep(_POLL)
        except BaseException:
            connection.close()
            raise

    def _check_time(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise no_bus(self.machine)

    def _try_to_connect(self, connection: socket.socket, path: str) -> None:
        with self._opened(path, os.O_PATH) as found:
            # Looked at by the descriptor that is used: a path could lead elsewhere the next moment.
            if not stat.S_ISSOCK(os.fstat(found).st_mode):
                raise silent(self.machine)
            with _as_user(self.ids.uid):  # whom the other side sees, and all that we are in this moment
                connection.connect(f"/proc/self/fd/{found}")

    def terminal(self) -> Terminal:
        """Make a pty in the machine's own devpts; no process inside knows our end of it."""
        return self._bounded(self._terminal, _TIMEOUT)

    def _terminal(self) -> Terminal:
        with self._opened("dev/pts/ptmx", os.O_PATH) as found:
            # O_PATH opens nothing yet: a device of the machine's making would do so, or a FIFO wait for ever.
            info = os.fstat(found)
            if not (stat.S_ISCHR(info.st_mode) and info.st_rdev == _PTMX and _type(found) == _DEVPTS):
                raise MachineError(
                    f"the machine {self.machine!r} has no terminals",
                    details="Its /dev/pts/ptmx is not that of a devpts file system.",
                    resolution="leave out -t",
                )
            with _as_user(self.ids.uid):  # the new terminal is its user's
                master = os.open(
                    f"/proc/self/fd/{found}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
                )
        try:
            fcntl.ioctl(master, _LOCK, struct.pack("i", 0))
            (number,) = struct.unpack("I", fcntl.ioctl(master, _NUMBER, struct.pack("I", 0)))
            # Not by its path: the machine could have mounted something else there.
            slave = fcntl.ioctl(master, _PEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except BaseException:
            os.close(master)
            raise
        return Terminal(master, slave, f"/dev/pts/{number}")

    @contextlib.contextmanager
    def namespace(self, kind: str) -> Iterator[int]:
        """Give a descriptor of a namespace of the first process (`user`, `mnt`), for a child to enter."""
        try:
            descriptor = os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._process)
        except (FileNotFoundError, ProcessLookupError):
            raise self._not_running() from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def make_directory(self, path: str) -> None:
        """Make a directory of the machine, and those above it, where they are missing.

        They are this computer's root's, like all mount points that systemd-nspawn makes.
        """

        def work() -> None:
            made = "/"
            try:
                for name in path.strip("/").split("/"):
                    with (
                        self._opened(made, os.O_PATH | os.O_DIRECTORY) as above,
                        contextlib.suppress(FileExistsError),
                    ):
                        os.mkdir(name, 0o755, dir_fd=above)
                    made = f"{made}{name}/"
            except OSError as error:
                raise MachineError(
                    f"the machine {self.machine!r} has no place for a disk",
                    details=f"{path}: {error.strerror}",
                    resolution=f"stoneware restart {self.machine}",
                ) from error

        self._bounded(work, _TIMEOUT)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory of the machine, and all that is mounted there; none is no error.

        What is mounted at a directory goes with it where that is removed from another mount namespace
        (rmdir(2) has no word about it; the kernel does so since Linux 3.18).
        """

        def work() -> None:
            above, _, name = path.rpartition("/")
            # Missing, or something else: it shows, since what was mounted is there as before.
            with contextlib.suppress(OSError), self._opened(above, os.O_PATH | os.O_DIRECTORY) as found:
                os.rmdir(name, dir_fd=found)

        self._bounded(work, _TIMEOUT)

    @contextlib.contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._process)
        try:
            found = open_in_root(root, path, flags)
        finally:
            os.close(root)
        try:
            yield found
        finally:
            os.close(found)

    def _bounded(self, work: Callable[[], Result], timeout: float) -> Result:
        """Do something in a thread of its own: a file system that does not answer holds up that one only."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except (OSError, MachineError) as error:
                errors.append(error)

        # A daemon: one that is stuck in the kernel must not keep this command from ending.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(timeout)
        if results:
            return results[0]
        if errors and isinstance(errors[0], MachineError):
            raise errors[0]
        raise silent(self.machine) from (errors[0] if errors else None)


def silent(machine: str) -> MachineError:
    """Return the error of a machine whose first process does not do what is asked of it."""
    return MachineError(
        f"systemd in the machine {machine!r} does not answer",
        details="Commands are started by the machine's own first process.",
        resolution=f"stoneware restart {machine}    # its console: stoneware logs {machine}",
    )


def no_bus(machine: str) -> MachineError:
    """Return the error of a machine whose system bus has not come up."""
    return MachineError(
        f"the machine {machine!r} has no system bus that answers",
        details="Its own systemd starts commands, and is asked over D-Bus: images need the package dbus.",
        resolution=f"stoneware restart {machine}    # or bake its image again, with dbus",
    )


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open a path below a directory as if that were the root, links included; none leads out of it.

    Raises OSError. Needs Linux 5.6.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _IN_ROOT | _NO_MAGIC_LINKS)
    words = (ctypes.c_long(_OPENAT2), ctypes.c_int(root), os.fsencode(path), how, ctypes.c_size_t(len(how)))
    found = int(_LIBC.syscall(*words))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return found


@contextlib.contextmanager
def _as_user(uid: int) -> Iterator[None]:
    """Be another user for a moment in this thread alone: the C library's call would change all threads."""
    _set_user(uid)
    try:
        yield
    finally:
        _set_user(0)


def _set_user(uid: int) -> None:
    same = ctypes.c_uint(_UNCHANGED)
    if _LIBC.syscall(ctypes.c_long(_SETRESUID), same, ctypes.c_uint(uid), same) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _type(descriptor: int) -> int:
    """Return what statfs(2) says of the kind of a file system."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _LIBC.fstatfs(descriptor, buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(struct.unpack_from("l", buffer.raw)[0])
