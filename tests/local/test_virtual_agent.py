"""The host's side of a virtual machine's agent and monitor, against ones that answer what they like."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.machines.qemu import agent as agents
from stoneware.platforms.local.machines.qemu import monitor
from stoneware.platforms.local.machines.qemu.agent import Agent, AgentError, talking
from stoneware.platforms.local.machines.record import Paths
from stoneware.process_identity import boot_id, identify

Answer = Callable[[dict[str, Any]], bytes]


class Peer(threading.Thread):
    """What is at the other end: it answers each line with the next of its answers."""

    def __init__(self, connection: socket.socket, *answers: Answer | bytes) -> None:
        super().__init__(daemon=True)
        self.asked: list[dict[str, Any]] = []
        self._connection, self._answers = connection, answers

    def run(self) -> None:
        stream = self._connection.makefile("rb")
        for answer in self._answers:
            words = json.loads(stream.readline().lstrip(b"\xff"))
            self.asked.append(words)
            said = answer(words) if callable(answer) else answer
            try:
                self._connection.sendall(said)
            except OSError:
                return


def synced(words: dict[str, Any]) -> bytes:
    return b"\xff" + json.dumps({"return": words["arguments"]["id"]}).encode() + b"\n"


def returned(value: Any) -> bytes:
    return json.dumps({"return": value}).encode() + b"\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def talk(pair: tuple[socket.socket, socket.socket], *answers: Answer | bytes) -> tuple[Agent, Peer]:
    peer = Peer(pair[1], *answers)
    peer.start()
    return Agent("v1", pair[0]), peer


def test_answers_to_others_are_passed_over(pair: tuple[socket.socket, socket.socket]) -> None:
    stale = b'{"return": 5}\n\xff{"return": 6}\nrubbish\n'
    agent, _ = talk(pair, lambda words: stale + synced(words))
    assert agent.sync(5)


def test_a_command_is_started_with_its_words_and_environment(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    agent, peer = talk(pair, returned({"pid": 321}), returned({"exited": False}))
    assert agent.start(["/bin/sh", "-c", "é\n"], {"A": "b c"}) == 321
    assert not agent.has_ended(321)
    assert peer.asked[0] == {
        "execute": "guest-exec",
        "arguments": {"path": "/bin/sh", "arg": ["-c", "é\n"], "env": ["A=b c"], "capture-output": False},
    }


@pytest.mark.parametrize(
    "answer",
    [
        b"no JSON\n",
        b"[" * 5000 + b"\n",
        b'{"return": ' + b"[" * 20 + b"]" * 20 + b"}\n",
        b"x" * 200_000,
        b'{"error": {"desc": "no"}}\n',
        b'{"error": 5}\n',
        b"{}\n",
        *(returned({"pid": pid}) for pid in (0, 1, -5, True, "7", 1 << 40, None)),
        returned([]),
    ],
)
def test_what_is_no_answer_is_an_error(pair: tuple[socket.socket, socket.socket], answer: bytes) -> None:
    agent, _ = talk(pair, answer)
    with pytest.raises(AgentError):
        agent.start(["/bin/true"], {})


def test_an_endless_answer_is_not_read_to_its_end(pair: tuple[socket.socket, socket.socket]) -> None:
    agent, _ = talk(pair, b"\n" * (1 << 21))
    assert not agent.sync(10)


def test_an_agent_that_says_nothing_is_given_up(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "_ANSWERS", 0.05)
    agent, _ = talk(pair)
    assert not agent.sync(0.05)
    with pytest.raises(AgentError):
        agent.call("guest-exec-status", {"pid": 2})


# -- sockets in a machine's directory ----------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Give a machine whose first process is this one, with a path that is longer than a socket's may be."""
    made = Paths(tmp_path / ("x" * 100) / "v1")
    (made.run / "sockets").mkdir(parents=True)
    (made.root / "state.json").write_text(json.dumps({"id": "m1", "created": 1.0, "boot": boot_id()}))
    me = identify(os.getpid())
    assert me is not None
    (made.run / "leader").write_text(f"{me.pid} {me.start}\n")
    return made


def served(paths: Paths, name: str, serve: Callable[[socket.socket], None]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.open(".", os.O_RDONLY)
    os.chdir(paths.run / "sockets")
    try:
        listener.bind(name)
    finally:
        os.fchdir(before)
        os.close(before)
    listener.listen()

    def accept() -> None:
        with listener, listener.accept()[0] as connection:
            serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    return thread


def test_an_agent_is_found_by_the_machines_directory(paths: Paths) -> None:
    peer = served(paths, "agent", lambda it: Peer(it, synced, returned({"pid": 9})).run())
    with talking(paths, 5) as agent:
        assert agent.start(["/bin/true"], {}) == 9
    peer.join()


def test_a_machine_that_is_off_is_told(paths: Paths) -> None:
    (paths.run / "leader").unlink()
    with pytest.raises(MachineError, match="is not running"), talking(paths, 5):
        pass
    with pytest.raises(MachineError, match="is not running"):
        monitor.press_power_button(paths)


def test_an_agent_is_asked_to_switch_the_machine_off(paths: Paths) -> None:
    asked: list[Any] = []

    def serve(connection: socket.socket) -> None:
        peer = Peer(connection, synced, b"")
        peer.run()
        asked.extend(peer.asked)

    peer = served(paths, "agent", serve)
    agents.power_off(paths)
    peer.join()
    assert asked[1:] == [{"execute": "guest-shutdown"}]


def test_a_machine_without_an_agent_is_told(paths: Paths) -> None:
    served(paths, "agent", lambda it: Peer(it, b"").run())
    with pytest.raises(MachineError, match="no agent answers"), talking(paths, 0.2):
        pass


VERSION = {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}
GREETING = json.dumps({"QMP": {"version": VERSION, "capabilities": []}}).encode() + b"\n"


def test_the_button_is_pressed_by_the_monitor(paths: Paths) -> None:
    asked: list[str] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        while data := connection.recv(1 << 16):  # one question at a time, and no line
            words = json.loads(data)
            asked.append(words["execute"])
            answer = {"return": {}, **({"id": words["id"]} if "id" in words else {})}
            connection.sendall(json.dumps(answer).encode() + b"\n")

    served(paths, "monitor", serve)
    monitor.press_power_button(paths)
    assert asked == ["qmp_capabilities", "system_powerdown"]


@pytest.mark.parametrize("said", [b"", b"[" * 50_000 + b"\n", b"x" * 200_000, b"no\n", b'{"QMP": 5}\n'])
def test_a_monitor_that_is_none_is_an_error(paths: Paths, said: bytes) -> None:
    served(paths, "monitor", lambda connection: connection.sendall(said))
    with pytest.raises(MachineError, match="QEMU does not answer"):
        monitor.ask(paths, "query-status", 2)


def test_a_fault_of_our_own_is_no_answer_of_qemus(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    served(paths, "monitor", lambda _: None)
    monkeypatch.setattr("qemu.qmp.QMPClient", lambda *_, **__: None)
    with pytest.raises(AttributeError):
        monitor.ask(paths, "query-status", 2)
