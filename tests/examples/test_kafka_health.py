"""The Kafka example's health check, against a broker that answers what a case says."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.tool

SCRIPT = Path(__file__).parents[2] / "examples/kafka/broker-health"
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases/kafka_health.json").read_text())
DESCRIBE_CLUSTER = bytes.fromhex("003c 0000 0000003c ffff 00 00 00")
DESCRIBE_QUORUM = bytes.fromhex("0037 0001 00000037 ffff 00 02 13") + (
    b"__cluster_metadata" + bytes.fromhex("02 00000000 00 00 00")
)


def compact(text: bytes) -> bytes:
    """Encode a compact string: a varint of its length plus one, then its bytes."""
    number = len(text) + 1
    return bytes([number & 0x7F | 0x80, number >> 7] if number > 0x7F else [number]) + text


def cluster_answer(brokers: list[int], error: int) -> bytes:
    host, port, rack_and_tags = compact(b"h" * 200), struct.pack(">i", 9092), b"\0\0"
    nodes = b"".join(struct.pack(">i", id_) + host + port + rack_and_tags for id_ in brokers)
    head = struct.pack(">ih", 0, error) + b"\0" + compact(b"cluster") + struct.pack(">i", 1)
    return b"\0\0\0\x3c\0" + head + bytes([len(brokers) + 1]) + nodes + struct.pack(">i", 0) + b"\0"


def quorum_answer(leader: int, voters: dict[str, int], observers: dict[str, int], error: int) -> bytes:
    def replicas(table: dict[str, int]) -> bytes:
        rows = [struct.pack(">iqqq", int(id_), 5, -1, time) + b"\0" for id_, time in table.items()]
        return bytes([len(rows) + 1]) + b"".join(rows)

    head = struct.pack(">ihiiq", 0, error, leader, 3, 5)
    partition = head + replicas(voters) + replicas(observers) + b"\0"
    return b"\0\0\0\x37\0" + b"\0\0\x02" + compact(b"__cluster_metadata") + b"\x02" + partition + b"\0\0"


class Broker:
    """Takes one connection and both questions, and gives the answers it was made with."""

    def __init__(self, answers: list[bytes]) -> None:
        self.asked: list[bytes] = []
        self._answers = answers
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)  # it waits where nobody comes
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as questions:
            for _ in range(2):
                (size,) = struct.unpack(">i", questions.read(4))
                self.asked.append(questions.read(size))
            for answer in self._answers:
                connection.sendall(struct.pack(">i", len(answer)) + answer)
            questions.read()  # until it hangs up

    def close(self) -> None:
        self._thread.join(300)
        self._server.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "server.properties"
    path.write_text("# a comment\nnode.id=2\ncontroller.quorum.voters=1@a:9093\n")
    return path


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    case = request.param
    answers = [cluster_answer(case["brokers"], case.get("cluster_error", 0))]
    if not case.get("silent"):
        quorum = (case.get("leader", 1), case.get("voters", {}), case.get("observers", {}))
        answers.append(quorum_answer(*quorum, case.get("quorum_error", 0)))
    made = Broker([answer[: case.get("cut")] for answer in answers])
    yield made
    made.close()


def check(config: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, config, str(port)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("broker", "case"),
    [(case, case) for case in CASES],
    ids=[case["name"] for case in CASES],
    indirect=["broker"],
)
def test_healthy_is_registered_unfenced_and_up_to_date(
    broker: Broker, case: dict[str, Any], config: Path
) -> None:
    done = check(config, broker.port)

    assert case["says"] in done.stdout
    assert done.returncode == case["exit"], done.stderr
    assert done.stderr == ""
    assert broker.asked == [DESCRIBE_CLUSTER, DESCRIBE_QUORUM]


def test_a_closed_port_is_said(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    done = check(config, port)

    assert done.returncode == 1
    assert f"no answer on port {port}: Connection refused" in done.stdout


def test_a_config_without_an_id_is_said(tmp_path: Path) -> None:
    config = tmp_path / "server.properties"
    config.write_text("node.identity=1\n")

    done = check(config, 1)

    assert (done.returncode, done.stdout) == (1, f"{config} has no node.id\n")
