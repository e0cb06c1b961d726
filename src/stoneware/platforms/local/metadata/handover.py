"""The endpoint of instances: connections that machines open to it are handed to the emulator that has them.

The metadata server accepts them in the router's namespace, and passes each, with the machine's name, through
a socket of the emulator's: so the emulator answers machines without listening anywhere that others reach.
Which emulator a machine belongs to its label says; that of another machine is never asked, and it may be
away: then the machine is told to come again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from stoneware.platforms.local.metadata.visits import address_of
from stoneware.untrusted.bounded import read_object

STATE_LABEL = "stoneware.emulator.state"  # of a machine behind an instance: its emulator's directory
_BACKLOG = 1024
_AT_ONCE = 64  # connections accepted before others are served
_PAUSE = 1.0  # seconds without accepting where there are no descriptors left
_REFUSED = 1.0  # seconds that a refused client has to ask
_KNOWN = 4096  # machines whose labels are known, more than there can be
_NAME = 256  # bytes of a machine's name, and more

Enter = Callable[[str, socket.socket], None]


def place(runtime: Path, state: str) -> Path:
    """Return the socket of the emulator with this directory, below a router's runtime directory."""
    return runtime / "emulators" / hashlib.sha256(state.encode()).hexdigest()[:16]


def _refusal(status: str, detail: str) -> bytes:
    body = f"{detail}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


_NOT_YOURS = _refusal("403 Forbidden", "This address does not belong to the port the request came in by.")
_NO_INSTANCE = _refusal("404 Not Found", "Only instances of an emulated cloud are served here.")
_AWAY = _refusal("503 Service Unavailable", "The emulator does not run, or is busy.")


class Handover:
    """Accepts connections, and hands them on. `find`: the directory of the machine that has an address."""

    def __init__(
        self, listener: socket.socket, find: Callable[[str], Path | None], runtime: Path, *, by_port: bool
    ) -> None:
        self._listener = listener
        self._find = find
        self._runtime = runtime
        self._by_port = by_port
        self._states: dict[Path, tuple[tuple[int, int], str | None]] = {}  # with the spec's stamp

    def start(self) -> None:
        """Begin to accept, in the running loop."""
        asyncio.get_running_loop().add_reader(self._listener, self._arrive)

    def _arrive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:
                # No descriptors are left, and the socket stays readable: the loop would turn without rest.
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                loop.call_later(_PAUSE, self.start)
                return
            if reply := self._refused(connection, peer):
                _refuse(connection, reply)
            else:
                connection.close()  # the emulator has it

    def _refused(self, connection: socket.socket, peer: tuple[str, int]) -> bytes:
        """Hand a connection on; return what its client is told where that cannot be, else nothing."""
        try:
            address = address_of(connection, peer, connection.getsockname(), by_port=self._by_port)
            machine = self._find(address) if address else None
            if machine is None:
                return _NOT_YOURS
            state = self._state(machine)
            if state is None:
                return _NO_INSTANCE
            _hand(place(self._runtime, state), machine.name, connection)
        except OSError:
            return _AWAY
        return b""

    def _state(self, machine: Path) -> str | None:
        """Return the emulator's directory that a machine's label names; a spec that stays is read once."""
        path = machine / "spec.json"
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        known = self._states.get(machine)
        if known is None or known[0] != stamp:
            if len(self._states) >= _KNOWN:
                self._states.clear()
            labels = read_object(path).get("labels")
            said = labels.get(STATE_LABEL) if isinstance(labels, dict) else None
            known = self._states[machine] = (stamp, said if isinstance(said, str) else None)
        return known[1]


def _hand(path: Path, name: str, connection: socket.socket) -> None:
    """Pass a connection to who listens at a path. Raises OSError where nobody does, or too many wait."""
    # SEQPACKET: the name and its descriptor arrive as one message, whole or not at all.
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as link:
        link.connect(str(path))
        socket.send_fds(link, [name.encode()], [connection.fileno()])


class _Refusal(asyncio.Protocol):
    """Answers what a client asks; one that asks nothing is closed soon."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        asyncio.get_running_loop().call_later(_REFUSED, self._transport.abort)

    def data_received(self, _data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._reply)
            self._transport.close()


def _refuse(connection: socket.socket, reply: bytes) -> None:
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    task = loop.create_task(loop.connect_accepted_socket(lambda: _Refusal(reply), connection))
    _refusing.add(task)
    task.add_done_callback(_refusing.discard)


_refusing: set[asyncio.Task[object]] = set()  # a loop itself keeps no task alive


class Entrance:
    """The emulator's end: what comes in at `path` is given to `enter`, in a thread of its own."""

    def __init__(self, path: Path, enter: Enter) -> None:
        self._path = path
        self._enter = enter
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.parent.chmod(0o700)
        self._path.unlink(missing_ok=True)  # of an emulator that has ended: one at a time has its directory
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.bind(str(self._path))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        threading.Thread(target=self._run, args=(listener,), name="entrance", daemon=True).start()
        return listener

    def renew(self) -> None:
        """Listen again where the router's runtime directory was removed meanwhile."""
        if not self._path.exists():
            self._end()
            self._listener = self._listen()

    def close(self) -> None:
        """Let nobody in any more."""
        self._path.unlink(missing_ok=True)
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait of its thread, which closes it

    def _run(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with link:
                    self._take(link)

    def _take(self, link: socket.socket) -> None:
        link.settimeout(_PAUSE)
        try:
            name, descriptors, _, _ = socket.recv_fds(link, _NAME, 1)
        except OSError:  # who came was killed
            return
        for descriptor in descriptors:
            self._enter(name.decode(errors="replace"), socket.socket(fileno=descriptor))
