"""Talking to a machine's first process over the machine's system bus.

What comes from there is the machine's word: it is read within bounds, and waited for with deadlines. Signals
only wake us up, since everybody in the machine can send some; what counts is what systemd answers.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

from stoneware.errors import MachineError
from stoneware.platforms.local.machines import bus_message
from stoneware.platforms.local.machines.bus_message import MalformedError, Received, Value
from stoneware.platforms.local.machines.door import Door, silent

MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
TIMEOUT = 25.0  # seconds for an answer; twenty machines may boot at once
_SOCKET = "run/dbus/system_bus_socket"
_SYSTEMD, _SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
# D-Bus's own protocol of authentication: we are user 0, written as hexadecimal digits of its digits.
_GREETING = b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
_WELCOME = (b"OK ", b"AGREE_UNIX_FD")
_LONGEST_LINE = 1 << 10  # bytes before the machine is taken for one that never ends a line
_CHUNK = 1 << 16
_NO_REPLY = 1
_LONGEST = 300  # characters of the machine's words in an error


class LostError(Exception):
    """The other side has closed the connection."""


class RefusedError(MachineError):
    """Systemd answered with an error."""


class Bus:
    """One connection. Not for several threads."""

    def __init__(self, door: Door) -> None:
        """Connect; raises MachineError where the machine's bus does not answer."""
        self._machine = door.machine
        self._socket = door.connect(_SOCKET, TIMEOUT)
        self._buffer = bytearray()
        self._woken = False
        self._serials = itertools.count(1)
        try:
            self._authenticate(time.monotonic() + TIMEOUT)
            self._call("Hello", "", (), path=_BUS_PATH, interface=_BUS, to=_BUS)
        except (MalformedError, LostError) as error:
            self.close()
            raise silent(self._machine) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def wait(self, others: Sequence[int], seconds: float | None) -> list[int]:
        """Wait until `woken` may say yes, or others can be read; return which of those can."""
        poll = select.poll()
        for descriptor in (self._socket.fileno(), *others):
            poll.register(descriptor, select.POLLIN)
        # What came with an answer is here already, and nothing more may come.
        known = self._woken or self._buffered()
        ready = poll.poll(0 if known else None if seconds is None else max(0.0, seconds * 1000))
        return [descriptor for descriptor, _ in ready if descriptor in others]

    def _authenticate(self, deadline: float) -> None:
        """Say who we are, and read what is said to it; as systemd's own programs, all in one go."""
        # Asking and waiting line by line would be two round trips more for each command.
        self._send(_GREETING, (), deadline)
        for expected in _WELCOME:
            if not self._line(deadline).startswith(expected):
                raise MalformedError("not let in")

    def _line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise MalformedError("no end of a line")
            self._buffer += self._receive(deadline)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    # -- calls ---------------------------------------------------------------------------------------------

    def watch(self, path: str) -> None:
        """Let systemd wake us up when a property of that unit changes."""
        # With the path: whatever other units do would wake us as well.
        rule = f"type='signal',sender='{_SYSTEMD}',interface='{PROPERTIES}',path='{path}'"
        self._tell("AddMatch", "s", (rule,), path=_BUS_PATH, interface=_BUS, to=_BUS)
        # Without it systemd sends no signals about units at all.
        self._tell("Subscribe", "", ())

    def call(
        self,
        member: str,
        signature: str,
        body: tuple[Any, ...],
        *,
        path: str = _SYSTEMD_PATH,
        interface: str = MANAGER,
    ) -> Value | None:
        """Call a method of systemd and return the first value it returns.

        Raises RefusedError for an error, MachineError for no proper answer in time, and LostError.
        """
        try:
            return self._call(member, signature, body, path=path, interface=interface)
        except MalformedError as error:
            raise silent(self._machine) from error

    def tell(self, member: str, signature: str, body: tuple[Any, ...]) -> None:
        """Call a method and do not wait for its answer; a lost connection is no error."""
        with contextlib.suppress(LostError, MalformedError):
            self._tell(member, signature, body)

    def woken(self, wait: float | None) -> bool:
        """Say whether a signal has come, waiting up to `wait` seconds (None: for ever). Raises LostError."""
        try:
            if not self._woken and (self._buffered() or self._wait(wait)):
                if not self._buffered():
                    self._buffer += self._receive(None)
                # Nothing that is here already would wake the next poll.
                while self._buffered():
                    self._message(None)
        except MalformedError as error:
            raise LostError from error
        found, self._woken = self._woken, False
        return found

    def _call(
        self,
        member: str,
        signature: str,
        body: tuple[Any, ...],
        *,
        path: str,
        interface: str,
        to: str = _SYSTEMD,
    ) -> Value | None:
        deadline = time.monotonic() + TIMEOUT
        serial = next(self._serials)
        data, descriptors = _method_call(
            serial, member, signature, body, to=to, path=path, interface=interface
        )
        self._send(data, descriptors, deadline)
        while True:
            # Signals come in between; `_message` notes that, so that the next wait knows of them.
            message = self._message(deadline)
            if message.reply_to == serial and message.kind in (bus_message.RETURN, bus_message.ERROR):
                break
        value = message.first()
        if message.kind == bus_message.ERROR:
            # Spelt in ASCII below: the machine's words must not reach the operator's terminal as they are.
            said = str(value or message.error)[:_LONGEST]
            raise RefusedError(
                f"systemd in the machine {self._machine!r} refuses: {member}",
                details=ascii(said)[1:-1],
                resolution=f"stoneware logs {self._machine}",
            )
        return value

    def _tell(
        self,
        member: str,
        signature: str,
        body: tuple[Any, ...],
        *,
        path: str = _SYSTEMD_PATH,
        interface: str = MANAGER,
        to: str = _SYSTEMD,
    ) -> None:
        serial = next(self._serials)
        data, _ = _method_call(
            serial, member, signature, body, to=to, path=path, interface=interface, flags=_NO_REPLY
        )
        self._send(data, (), time.monotonic() + TIMEOUT)

    # -- bytes ---------------------------------------------------------------------------------------------

    def _buffered(self) -> bool:
        try:
            size = bus_message.size_of(bytes(self._buffer[:16]))
        except MalformedError as error:
            raise LostError from error
        return size is not None and size <= len(self._buffer)

    def _message(self, deadline: float | None) -> Received:
        while not self._buffered():
            self._buffer += self._receive(deadline)
        size = bus_message.size_of(bytes(self._buffer[:16])) or 0
        message = bus_message.read(bytes(self._buffer[:size]))
        del self._buffer[:size]
        # Only that there was one is kept: what it says may come from any process of the machine.
        self._woken = self._woken or message.kind == bus_message.SIGNAL
        return message

    def _wait(self, seconds: float | None, event: int = select.POLLIN) -> bool:
        poll = select.poll()
        poll.register(self._socket, event)
        return bool(poll.poll(None if seconds is None else max(0, seconds * 1000)))

    def _receive(self, deadline: float | None) -> bytes:
        """Return what has come; with a deadline, wait for it until then, whatever else comes meanwhile."""
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._wait(left):
                raise MalformedError("no answer")
        try:
            data = self._socket.recv(_CHUNK)  # descriptors that come with it are closed by the kernel
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LostError from error
        if not data:
            raise LostError
        return data

    def _send(self, data: bytes, descriptors: Sequence[int], deadline: float) -> None:
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        while data:
            if not self._wait(deadline - time.monotonic(), select.POLLOUT):
                raise MalformedError("no answer")
            try:
                sent = self._socket.sendmsg([data], rights)
            except BlockingIOError:
                continue
            except OSError as error:
                raise LostError from error
            # The descriptors have gone with the first bytes; sent again, the machine would have them twice.
            data, rights = data[sent:], []


def _method_call(
    serial: int,
    member: str,
    signature: str,
    body: tuple[Any, ...],
    *,
    to: str,
    path: str,
    interface: str,
    flags: int = 0,
) -> tuple[bytes, Sequence[int]]:
    from jeepney.low_level import Endianness, Header, HeaderFields, Message, MessageType

    fields = {
        HeaderFields.path: path,
        HeaderFields.interface: interface,
        HeaderFields.member: member,
        HeaderFields.destination: to,
    }
    if signature:
        fields[HeaderFields.signature] = signature
    # 1 is the version of the protocol; serialise() fills in the length of the body for -1.
    header = Header(Endianness.little, MessageType.method_call.value, flags, 1, -1, serial, fields)
    descriptors: array.array[int] = array.array("i")
    return Message(header, body).serialise(serial=serial, fds=descriptors), descriptors
