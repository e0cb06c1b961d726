"""A gRPC server on a unix socket, for a client that was told of it: unary calls over HTTP/2 without TLS.

gRPC's own library takes a fifth of a second to load, of every command that runs Terraform. HTTP/2 is that of
h2; what "gRPC over HTTP/2" adds for unary calls is five bytes in front of a message and two fields behind it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error

from stoneware.dataclass import dataclass

_WINDOW = 4 << 20  # bytes that a client may send before we have taken what it sent
_READ = 1 << 16  # bytes read at a time
_LENGTH = struct.Struct(">BI")  # whether a message is compressed, and its length
# Status codes of gRPC.
_OK, _UNKNOWN, _EXHAUSTED, _UNIMPLEMENTED, _INTERNAL = 0, 2, 8, 12, 13
_MOST_WORDS = 1000  # characters of an error that is told
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")  # what errors have as it is
_BEGINNING = [(":status", "200"), ("content-type", "application/grpc")]

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
        with contextlib.suppress(OSError, H2Error), client:
            _Connection(client, self._answers, self._most).run()
        with self._lock:
            self._open.discard(client)


@dataclass
class _Call:
    """A call whose answer has not been sent."""

    path: str
    message: bytearray


class _Connection:
    """One connection: a thread that reads, and one for each call."""

    def __init__(self, client: socket.socket, answers: Mapping[str, Answer], most: int) -> None:
        self._client = client
        self._answers = answers
        self._most = most
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._calls: dict[int, _Call] = {}  # those that the client still waits for
        self._changed = threading.Condition()  # held to use any of these; told when there may be room to send

    def run(self) -> None:
        """Read until the client goes. Raises OSError, and H2Error for what is no HTTP/2."""
        try:
            with self._changed:
                self._http.initiate_connection()
                self._http.increment_flow_control_window(_WINDOW)
                self._send()
            while data := self._client.recv(_READ):
                with self._changed:
                    for event in self._http.receive_data(data):
                        self._take(event)
                    self._send()
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._calls.clear()
                self._changed.notify_all()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(number), headers=list(headers)):
                self._begin(number, dict(headers).get(b":path", b"").decode("latin-1"))
            case DataReceived(stream_id=int(number), data=bytes(data), flow_controlled_length=int(size)):
                self._data(number, data, size)
            case StreamEnded(stream_id=int(number)) if number in self._calls:
                _thread(self._answer, number, self._calls[number])
            case StreamReset(stream_id=int(number)):
                self._calls.pop(number, None)
            case _:  # h2 has done what is to be done
                pass

    def _begin(self, number: int, path: str) -> None:
        if path in self._answers:
            self._calls[number] = _Call(path, bytearray())
            self._http.increment_flow_control_window(_WINDOW, number)
        else:
            # At once: of a call that streams no end may come.
            self._refuse(number, _UNIMPLEMENTED, "Method not found!")

    def _data(self, number: int, data: bytes, size: int) -> None:
        self._http.acknowledge_received_data(size, number)
        if (call := self._calls.get(number)) is None:
            return
        call.message += data
        if len(call.message) > self._most + _LENGTH.size:
            self._refuse(number, _EXHAUSTED, f"a message may have {self._most} bytes")

    def _answer(self, number: int, call: _Call) -> None:
        """Answer a call, in a thread of its own."""
        status, words, answer = _OK, "", b""
        try:
            answer = self._answers[call.path](_unwrapped(call.message))
        except _RefusedError as error:
            status, words = error.status, str(error)
        except BaseException as error:  # Terraform tells it, whatever it is, as with each server of gRPC
            status, words = _UNKNOWN, f"Exception calling application: {error}"
        with contextlib.suppress(OSError, H2Error), self._changed:  # nobody waits for it any more
            if number not in self._calls:
                return
            if status:
                self._refuse(number, status, words)
                self._send()
            else:
                self._reply(number, _LENGTH.pack(0, len(answer)) + answer)

    def _reply(self, number: int, data: bytes) -> None:
        """Send an answer, as much at a time as the client has room for."""
        self._http.send_headers(number, _BEGINNING)
        place = 0
        while place < len(data):
            room = min(self._http.local_flow_control_window(number), self._http.max_outbound_frame_size)
            if room > 0:
                self._http.send_data(number, data[place : place + room])
                place += room
                continue
            self._send()
            self._changed.wait()
            if number not in self._calls:
                return
        self._http.send_headers(number, _status(_OK), end_stream=True)
        del self._calls[number]
        self._send()

    def _refuse(self, number: int, status: int, words: str) -> None:
        self._calls.pop(number, None)
        self._http.send_headers(number, _BEGINNING + _status(status, words), end_stream=True)

    def _send(self) -> None:
        self._client.sendall(self._http.data_to_send())


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


def _status(status: int, words: str = "") -> list[tuple[str, str]]:
    """Return the fields at the end of an answer."""
    fields = [("grpc-status", str(status))]
    if words:
        fields.append(("grpc-message", quote(words[:_MOST_WORDS], _PLAIN, errors="replace")))
    return fields
