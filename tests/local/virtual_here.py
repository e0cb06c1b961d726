"""A virtual machine's side of its sockets: an agent, and ports whose commands are processes of this computer.

It does what the agent and inside.sh do in a machine; a test may have it say
something else (`VirtualHere.say`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from stoneware.platforms.local.machines.qemu.hardware import AGENT, SLOTS, STREAMS, stream
from stoneware.platforms.local.machines.qemu.sockets import DIRECTORY
from stoneware.platforms.local.machines.record import Paths
from stoneware.process_identity import boot_id, identify

Ports = dict[str, socket.socket]
TTY = "/dev/pts/7"


class VirtualHere:
    """What answers at a machine's sockets."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.started: list[tuple[list[str], list[str]]] = []  # words and environment
        self.ended: set[int] = set()
        self.groups: dict[int, int] = {}  # of commands that run, by the first process of each
        self.say: Callable[[Ports, str], None] | None = None  # in the place of a command, with the token
        self.asked_for_end = threading.Event()
        self._numbers = itertools.count(5000)
        (paths.run / DIRECTORY).mkdir(parents=True)
        state = {"id": "m1", "created": 1.0, "boot": boot_id()}
        (paths.root / "state.json").write_text(json.dumps(state))
        me = identify(os.getpid())
        assert me is not None
        (paths.run / "leader").write_text(f"{me.pid} {me.start}\n")
        names = [AGENT, *(stream(number, name) for number in range(SLOTS) for name in STREAMS)]
        self._listeners = {name: self._listen(name) for name in names}
        threading.Thread(target=self._serve_agent, daemon=True).start()

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(self.paths.run / DIRECTORY, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/{name}")  # the path of a socket has 107 characters at most
        os.close(directory)
        listener.listen()
        return listener

    def switch_off(self) -> None:
        """Be no machine that runs any more."""
        (self.paths.run / "leader").unlink()

    def close(self) -> None:
        for group in self.groups.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    @property
    def others(self) -> list[list[str]]:
        """Return what the agent was asked to start besides commands."""
        return [words for words, _ in self.started if words[0] != "/usr/bin/setsid"]

    # -- the agent -----------------------------------------------------------------------------------------

    def _serve_agent(self) -> None:
        while True:
            try:
                connection, _ = self._listeners[AGENT].accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    asked = json.loads(line.lstrip(b"\xff"))
                    answer = json.dumps({"return": self._answer(asked["execute"], asked["arguments"])})
                    before = b"\xff" if asked["execute"] == "guest-sync-delimited" else b""
                    connection.sendall(before + answer.encode() + b"\n")

    def _answer(self, command: str, asked: dict[str, Any]) -> Any:
        match command:
            case "guest-sync-delimited":
                return asked["id"]
            case "guest-exec":
                return {"pid": self._start([asked["path"], *asked["arg"]], asked["env"])}
            case _:
                self.asked_for_end.set()
                return {"exited": asked["pid"] in self.ended}

    def _start(self, words: list[str], env: list[str]) -> int:
        self.started.append((words, env))
        number = next(self._numbers)
        match words:
            case ["/usr/bin/setsid", "/bin/sh", "-c", _, "sh", *rest]:
                threading.Thread(target=self._inside, args=(number, rest, env), daemon=True).start()
            case ["/bin/sh", "-c", _, what, group] if int(group) in self.groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.groups[int(group)], int(what))
        return number

    # -- inside.sh -----------------------------------------------------------------------------------------

    def _inside(self, number: int, words: list[str], env: list[str]) -> None:
        place, token, _owner, feed, terminal, *argv = words
        slot = Path(place).name
        ports = {name: self._listeners[f"{slot}.{name}"].accept()[0] for name in STREAMS}
        try:
            if self.say is not None:
                self.say(ports, token)
            else:
                self._command(ports, token, argv, env, feed=bool(feed), terminal=bool(terminal))
        except OSError:  # who was to read it is gone
            pass
        finally:
            self.ended.add(number)
            for port in ports.values():
                port.close()

    def _command(
        self, ports: Ports, token: str, argv: list[str], env: list[str], *, feed: bool, terminal: bool
    ) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", argv[0]] if terminal else argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if terminal else subprocess.PIPE,
            env=dict(word.split("=", 1) for word in env),
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self.groups[process.pid] = process.pid
        ports["err"].sendall(f"{token}\n".encode())
        ports["out"].sendall(f"{token} {process.pid} {TTY if terminal else '-'}\n".encode())
        if feed or terminal:
            reader = threading.Thread(
                target=self._feed, args=(ports["in"], process.stdin), kwargs={"raw": terminal}, daemon=True
            )
            reader.start()
        else:
            process.stdin.close()
        moves = [threading.Thread(target=_move, args=(process.stdout, ports["out"]))]
        if process.stderr is not None:
            moves.append(threading.Thread(target=_move, args=(process.stderr, ports["err"])))
        for move in moves:
            move.start()
        for move in moves:
            move.join()
        code = process.wait()
        del self.groups[process.pid]
        ports["err"].sendall(f"{token}\n".encode())
        ports["out"].sendall(f"{token} {code if code >= 0 else 128 - code}\n".encode())

    @staticmethod
    def _feed(port: socket.socket, target: IO[bytes], *, raw: bool) -> None:
        with contextlib.suppress(OSError, ValueError), target, port.makefile("rb") as said:
            said.readline()  # the token
            while data := said.read1() if raw else said.read(int(said.readline())):
                target.write(data)
                target.flush()


def _move(source: IO[bytes], port: socket.socket) -> None:
    with contextlib.suppress(OSError), source:
        while data := os.read(source.fileno(), 1 << 16):
            port.sendall(data)
