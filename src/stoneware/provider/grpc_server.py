"""A gRPC server on a unix socket, for a client that was told of it: unary calls over HTTP/2 without TLS.

gRPC's own library takes a fifth of a second to load, of every command that runs Terraform. What is needed
here is a small part of it, written down in RFC 9113 (HTTP/2) and in gRPC's "gRPC over HTTP/2".
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from stoneware.dataclass import dataclass
from stoneware.provider.hpack import HeaderReader, written

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_INITIAL_WINDOW, _FRAME_SIZE, _HEADER_SIZE = 4, 5, 6  # settings
_WINDOW = 65535  # bytes that may be sent before the other side has said anything
_FRAME = 16384  # bytes of a frame at most, as we leave it
_MOST_HEADERS = 64 << 10  # bytes of the header fields of a call
_OURS = 1 << 30  # the window that we give: a message is bounded by itself
_RETURN = 1 << 20  # bytes of it after which we give them back
_LENGTH = struct.Struct(">BI")  # whether a message is compressed, and its length
# Status codes of gRPC.
_OK, _UNKNOWN, _EXHAUSTED, _UNIMPLEMENTED, _INTERNAL = 0, 2, 8, 12, 13
_MOST_WORDS = 1000  # characters of an error that is told

Answer = Callable[[bytes], bytes]


class GrpcServer:
    """Answers calls: each by a function from the bytes of a message to those of another."""

    def __init__(self, answers: Mapping[str, Answer], most: int) -> None:
        """Serve the methods of these paths. `most` is how many bytes a message may have."""
        self._answers = answers
        self._most = most
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def listen(self, path: Path) -> None:
        """Begin to serve on a socket that only its owner can reach."""
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen()
        _thread(self._accept)

    def stop(self) -> None:
        """Serve no more. A call that is at work goes on in its thread, and nobody hears of its end."""
        with self._lock:
            ended, self._open = [self._listener, *self._open], set()
        for each in ended:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # closing alone would wake no thread
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # stopped
                return
            with self._lock:
                self._open.add(client)
            _thread(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        # What is no HTTP/2 ends the connection, as its own end does.
        with contextlib.suppress(OSError, EOFError, ValueError, struct.error), client:
            _Connection(client, self._answers, self._most).run()
        with self._lock:
            self._open.discard(client)


@dataclass
class _Call:
    """A call that is not over."""

    path: str
    room: int  # bytes that its answer may have now
    message: bytearray
    over: bool = False


class _Connection:
    """One connection: a thread that reads, and one for each call."""

    def __init__(self, client: socket.socket, answers: Mapping[str, Answer], most: int) -> None:
        self._client = client
        self._answers = answers
        self._most = most
        self._headers = HeaderReader()
        self._calls: dict[int, _Call] = {}
        self._sending = threading.Lock()
        self._state = threading.Condition()
        self._room = self._initial = _WINDOW
        self._frame = _FRAME
        self._taken = 0  # bytes of our window that are not given back

    def run(self) -> None:
        """Read until the client goes. Raises OSError, EOFError and ValueError."""
        try:
            with self._client.makefile("rb") as stream:
                if _exactly(stream, len(_PREFACE)) != _PREFACE:
                    raise ValueError("no preface of HTTP/2")
                settings = struct.pack(">HIHI", _INITIAL_WINDOW, _OURS, _HEADER_SIZE, _MOST_HEADERS)
                self._send(_frame(_SETTINGS, 0, 0, settings), _grant(0, _OURS))
                while True:
                    self._take(stream, *_head(stream))
        finally:
            with self._state:
                for call in self._calls.values():
                    call.over = True
                self._state.notify_all()

    def _take(self, stream: BinaryIO, kind: int, flags: int, number: int, body: bytes) -> None:
        if kind == _DATA:
            self._data(number, flags, body)
        elif kind == _HEADERS:
            block = _unpadded(flags, body)[5 if flags & _PRIORITY else 0 :]
            self._call(number, flags, self._whole(stream, number, flags, block))
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(body)
        elif kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, body))
        elif kind == _WINDOW_UPDATE:
            self._window(number, struct.unpack(">I", body)[0] & 0x7FFFFFFF)
        elif kind == _RST_STREAM:
            self._forget(number)

    def _whole(self, stream: BinaryIO, number: int, flags: int, block: bytes) -> bytes:
        """Return a block of header fields with what other frames have of it."""
        while not flags & _END_HEADERS:
            kind, flags, of, more = _head(stream)
            if kind != _CONTINUATION or of != number or len(block) > _MOST_HEADERS:
                raise ValueError("a block of header fields does not end")
            block += more
        return block

    def _call(self, number: int, flags: int, block: bytes) -> None:
        path = dict(self._headers.read(block)).get(b":path", b"").decode("latin-1")
        if number in self._calls:  # fields behind the message
            self._complete(number, flags)
            return
        if path not in self._answers:
            # At once: of a call that streams no end may come.
            self._fail(number, _UNIMPLEMENTED, "Method not found!")
            return
        with self._state:
            self._calls[number] = _Call(path, self._initial, bytearray())
        self._complete(number, flags)

    def _data(self, number: int, flags: int, body: bytes) -> None:
        self._taken += len(body)
        if self._taken >= _RETURN:
            self._send(_grant(0, self._taken))
            self._taken = 0
        call = self._calls.get(number)
        if call is None:
            return
        call.message += _unpadded(flags, body)
        if len(call.message) > self._most + _LENGTH.size:
            self._forget(number)
            self._fail(number, _EXHAUSTED, f"a message may have {self._most} bytes")
            return
        self._complete(number, flags)

    def _complete(self, number: int, flags: int) -> None:
        if flags & _END_STREAM:
            _thread(self._answer, number, self._calls[number])

    def _answer(self, number: int, call: _Call) -> None:
        try:
            message = _unwrapped(call.message)
            answer = self._answers[call.path](message)
        except _RefusedError as error:
            self._fail(number, error.status, str(error))
        except BaseException as error:  # Terraform tells it, whatever it is, as with each server of gRPC
            self._fail(number, _UNKNOWN, f"Exception calling application: {error}")
        else:
            with contextlib.suppress(OSError):  # nobody waits for it any more
                self._reply(number, call, _LENGTH.pack(0, len(answer)) + answer)
        self._forget(number)

    def _reply(self, number: int, call: _Call, data: bytes) -> None:
        """Send an answer, as much at a time as the client has room for."""
        frames, place = [_frame(_HEADERS, _END_HEADERS, number, _BEGINNING)], 0
        while place < len(data):
            size = self._await_room(call, len(data) - place, waiting=frames)
            if not size:
                return
            frames.append(_frame(_DATA, 0, number, data[place : place + size]))
            place += size
        self._send(*frames, _frame(_HEADERS, _END_HEADERS | _END_STREAM, number, _status(_OK)))

    def _await_room(self, call: _Call, wanted: int, *, waiting: list[bytes]) -> int:
        """Return how many bytes may be sent now, 0 where the call is over; what waits is sent first."""
        while True:
            with self._state:
                size = min(wanted, call.room, self._room, self._frame)
                if call.over:
                    return 0
                if size > 0:
                    call.room -= size
                    self._room -= size
                    return size
                if not waiting:
                    self._state.wait()
            if waiting:
                self._send(*waiting)
                waiting.clear()

    def _fail(self, number: int, status: int, words: str) -> None:
        block = _BEGINNING + _status(status, words)
        with contextlib.suppress(OSError):
            self._send(_frame(_HEADERS, _END_HEADERS | _END_STREAM, number, block))

    def _settings(self, body: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", body):
            with self._state:
                if key == _INITIAL_WINDOW:
                    for call in self._calls.values():
                        call.room += value - self._initial
                    self._initial = value
                elif key == _FRAME_SIZE:
                    self._frame = min(value, 1 << 20)
                self._state.notify_all()
        self._send(_frame(_SETTINGS, _ACK, 0, b""))

    def _window(self, number: int, more: int) -> None:
        with self._state:
            if not number:
                self._room += more
            elif number in self._calls:
                self._calls[number].room += more
            self._state.notify_all()

    def _forget(self, number: int) -> None:
        with self._state:
            call = self._calls.pop(number, None)
            if call is not None:
                call.over = True
            self._state.notify_all()

    def _send(self, *frames: bytes) -> None:
        with self._sending:
            self._client.sendall(b"".join(frames))


class _RefusedError(Exception):
    """A message that is not taken, with the status that says so."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def _unwrapped(message: bytearray) -> bytes:
    if len(message) < _LENGTH.size:
        raise _RefusedError(_INTERNAL, "a call without a message")
    compressed, length = _LENGTH.unpack_from(message)
    if compressed:
        raise _RefusedError(_UNIMPLEMENTED, "messages that are compressed are not taken")
    if length != len(message) - _LENGTH.size:
        raise _RefusedError(_INTERNAL, "a message of another length than it says")
    return bytes(memoryview(message)[_LENGTH.size :])


def _thread(work: Callable[..., None], *given: object) -> None:
    # A daemon: a create that hangs must not keep the process from ending.
    threading.Thread(target=work, args=given, daemon=True).start()


def _exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _head(stream: BinaryIO) -> tuple[int, int, int, bytes]:
    """Return the next frame: kind, flags, number of its call, and what it has."""
    high, low, kind, flags, number = struct.unpack(">BHBBI", _exactly(stream, 9))
    size = high << 16 | low
    if size > _FRAME:
        raise ValueError("a frame that is too large")
    return kind, flags, number & 0x7FFFFFFF, _exactly(stream, size)


def _unpadded(flags: int, body: bytes) -> bytes:
    if not flags & _PADDED:
        return body
    if not body or body[0] >= len(body):
        raise ValueError("more padding than frame")
    return body[1 : len(body) - body[0]]


def _frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    size = len(body)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, number) + body


def _grant(number: int, size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, number, struct.pack(">I", size))


_BEGINNING = written([(b":status", b"200"), (b"content-type", b"application/grpc")])


def _status(status: int, words: str = "") -> bytes:
    """Return the fields at the end of an answer."""
    fields = [(b"grpc-status", str(status).encode())]
    if words:
        raw = words[:_MOST_WORDS].encode(errors="replace")
        plain = (bytes([byte]) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in raw)
        fields.append((b"grpc-message", b"".join(plain)))
    return written(fields)
