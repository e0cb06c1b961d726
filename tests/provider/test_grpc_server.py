"""Our server of gRPC, called by gRPC's own client and by a client that keeps to no rule."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from stoneware.provider.grpc_server import GrpcServer

MOST = 8 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Service:
    """A server, and what its methods wait for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = threading.Event()
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.server = GrpcServer(
            {"/a.B/Turn": lambda raw: raw[::-1], "/a.B/Hold": self._hold, "/a.B/Fail": self._fail}, MOST
        )
        self.server.listen(path)

    def _hold(self, raw: bytes) -> bytes:
        self.begun.set()
        self.held.wait(300)
        self.ended.set()
        return raw

    def _fail(self, raw: bytes) -> bytes:
        raise RuntimeError(raw.decode())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    served = Service(tmp_path / "calls.sock")
    yield served
    served.held.set()
    served.server.stop()


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix:{service.path}", options=limits) as opened:
        yield opened


def call(channel: grpc.Channel, method: str, raw: bytes) -> bytes:
    answer: bytes = channel.unary_unary(f"/a.B/{method}")(raw, timeout=300)
    return answer


@pytest.mark.parametrize("size", [0, 1, 5, 16_379, 16_384, 65_535, 65_536, MOST])
def test_messages_of_all_sizes_come_and_go(channel: grpc.Channel, size: int) -> None:
    raw = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert call(channel, "Turn", raw) == raw[::-1]


def test_one_connection_serves_many_calls_at_once(channel: grpc.Channel, service: Service) -> None:
    with ThreadPoolExecutor(9) as pool:
        held = pool.submit(call, channel, "Hold", b"held")
        assert service.begun.wait(300)
        texts = [b"%d" % number * 50_000 for number in range(40)]
        assert list(pool.map(lambda raw: call(channel, "Turn", raw), texts)) == [raw[::-1] for raw in texts]
        service.held.set()
        assert held.result() == b"held"


def test_more_than_the_windows_of_a_connection_passes_in_time(channel: grpc.Channel) -> None:
    for _ in range(6):  # both sides have given room several times
        assert len(call(channel, "Turn", b"x" * MOST)) == MOST


def test_what_goes_wrong_in_a_method_is_told(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, "Fail", "50 % of “it”\n".encode())
    assert raised.value.code() == grpc.StatusCode.UNKNOWN
    assert raised.value.details() == "Exception calling application: 50 % of “it”\n"
    assert call(channel, "Turn", b"ab") == b"ba"


def test_a_method_that_is_none_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, "Other", b"")
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    # One that streams without an end is answered as well.
    more = threading.Event()
    answers = channel.stream_stream("/a.B/Stream")(iter(more.wait, None), timeout=300)
    with pytest.raises(grpc.RpcError) as raised:
        list(answers)
    more.set()
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_too_large_or_compressed_is_refused(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, "Turn", b"x" * (MOST + 1))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/a.B/Turn")(b"x" * 5000, timeout=300, compression=grpc.Compression.Gzip)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert call(channel, "Turn", b"ab") == b"ba"


def test_a_client_that_goes_leaves_its_call_to_its_end(service: Service) -> None:
    with grpc.insecure_channel(f"unix:{service.path}") as channel:
        held = channel.unary_unary("/a.B/Hold").future(b"held", timeout=300)
        assert service.begun.wait(300)
        held.cancel()
    service.held.set()
    assert service.ended.wait(300)
    with grpc.insecure_channel(f"unix:{service.path}") as channel:
        assert call(channel, "Turn", b"ab") == b"ba"


def test_a_server_that_was_stopped_takes_no_call(channel: grpc.Channel, service: Service) -> None:
    assert call(channel, "Turn", b"ab") == b"ba"
    service.server.stop()
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, "Turn", b"ab")
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_socket_is_its_owners(service: Service) -> None:
    assert service.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n" + b" " * 24,
        PREFACE + b"\0\x40\1\0\0\0\0\0\1" + b"x" * 16_385,  # a frame that is too large
        PREFACE + b"\0\0\1\1\4\0\0\0\1\x80",  # a field without a number
        PREFACE + b"\0\0\1\1\0\0\0\0\1\x82" + b"\0\0\0\6\0\0\0\0\0",  # a block that is broken off
        PREFACE + b"\0\0\1\0\x0b\0\0\0\1\x09" + b"\0\0\2\1\x0d\0\0\0\1\x09\x82",  # more padding than frame
        PREFACE + b"\0\0\3\4\0\0\0\0\0abc",  # half a setting
        PREFACE + b"\0\0\1\x08\0\0\0\0\0\1",  # half a window
    ],
)
def test_what_is_no_http2_ends_its_connection_alone(
    service: Service, channel: grpc.Channel, sent: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(service.path))
        client.sendall(sent)
        client.settimeout(300)
        while client.recv(1 << 16):
            pass
    assert call(channel, "Turn", b"ab") == b"ba"
