"""The agent in a virtual machine (QEMU's guest agent), over its serial port: it starts commands there.

What it answers is the machine's word: bounded in size and time, and looked at before it is used.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoneware.errors import MachineError
from stoneware.files import locked
from stoneware.platforms.local.machines.qemu.hardware import AGENT
from stoneware.platforms.local.machines.qemu.sockets import connect, not_running
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.untrusted.bounded import BoundsError, bounded_json

COMES_UP = 120.0  # seconds that a machine gets until its agent answers: its boot, in software
_ANSWERS = 20.0  # seconds that an agent gets for an answer
_SOON = 0.5  # seconds for an agent that is not waited for
_AGAIN = 5.0  # seconds after which an agent that says nothing is asked once more
_LONGEST = 1 << 16  # bytes of one answer
_MOST = 1 << 20  # bytes of answers to others that are passed over
_LINE = 256  # bytes that a line counts for besides its own
_DEPTH = 8
_SENTINEL = b"\xff"  # what no JSON has: the agent forgets what came before, and says it before its answer
_LARGEST_PID = 1 << 22  # proc(5): pid_max


class AgentError(MachineError):
    """The agent did not do what it was asked, or answered what is no answer."""


class Agent:
    """A conversation with a machine's agent: see `talking`."""

    def __init__(self, machine: str, connection: socket.socket) -> None:
        self._machine, self._connection = machine, connection
        self._read = bytearray()

    def sync(self, timeout: float) -> bool:
        """Say whether the agent answers; what it has said before is passed over."""
        # Another one each time: what a killed command has asked may be answered only now.
        number = secrets.randbelow(1 << 31)
        words = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        self._connection.settimeout(timeout)
        deadline = time.monotonic() + timeout
        try:
            self._connection.sendall(_SENTINEL + json.dumps(words).encode() + b"\n")
            passed = 0
            while passed < _MOST:
                line = self._line(deadline)
                # Empty lines count as well, or they could come for ever.
                passed += len(line) + _LINE
                _, found, text = line.rpartition(_SENTINEL)
                with contextlib.suppress(BoundsError):
                    if found and bounded_json(text, _LONGEST, _DEPTH) == {"return": number}:
                        return True
        except (TimeoutError, BoundsError):
            return False
        return False

    def call(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Have the agent do something and return its answer. Raises AgentError."""
        words = {"execute": command, "arguments": dict(arguments)}
        deadline = time.monotonic() + _ANSWERS
        try:
            self._connection.settimeout(_ANSWERS)
            self._connection.sendall(json.dumps(words).encode() + b"\n")
            answer = bounded_json(self._line(deadline), _LONGEST, _DEPTH)
        except (TimeoutError, BoundsError, OSError) as error:
            raise self._failed(f"its answer to {command}: {error or 'none in time'}") from error
        if not isinstance(answer, dict) or "return" not in answer:
            told = answer.get("error") if isinstance(answer, dict) else None
            said = told.get("desc") if isinstance(told, dict) else "what is no answer"
            raise self._failed(f"{command}: {said!s:.200}")
        return answer["return"]

    def order(self, command: str) -> None:
        """Have the agent do something that it does not answer."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps({"execute": command}).encode() + b"\n")

    def start(self, argv: Sequence[str], env: Mapping[str, str], feed: bytes = b"") -> int:
        """Start a command as the machine's root and return its process id there. Raises AgentError."""
        arguments: dict[str, Any] = {
            "path": argv[0],
            "arg": list(argv[1:]),
            "env": [f"{name}={value}" for name, value in env.items()],
            # Output has ports of its own: the agent would hand it out at the end only.
            "capture-output": False,
        }
        if feed:
            arguments["input-data"] = base64.b64encode(feed).decode()
        answer = self.call("guest-exec", arguments)
        pid = answer.get("pid") if isinstance(answer, dict) else None
        # JSON's true is an int to Python; and a signal to the group 1 would be kill(-1), to every process.
        if not isinstance(pid, int) or isinstance(pid, bool) or not 1 < pid <= _LARGEST_PID:
            raise self._failed(f"a process id that is none: {pid!r:.40}")
        return pid

    def has_ended(self, pid: int) -> bool:
        """Say whether a command that was started has ended. Raises AgentError where it is not known."""
        answer = self.call("guest-exec-status", {"pid": pid})
        ended = answer.get("exited") if isinstance(answer, dict) else None
        if not isinstance(ended, bool):
            raise self._failed("a status that is none")
        return ended

    def _line(self, deadline: float) -> bytes:
        """Return the next line. Raises TimeoutError, BoundsError or OSError."""
        while (end := self._read.find(b"\n")) < 0:
            if len(self._read) > _LONGEST:
                raise BoundsError(f"is larger than {_LONGEST} bytes")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
            data = self._connection.recv(_LONGEST)
            if not data:
                raise OSError("the machine has ended")
            self._read += data
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def _failed(self, details: str) -> AgentError:
        return AgentError(
            f"the agent in the machine {self._machine!r} does not do what it is asked",
            details=details,
            resolution=f"stoneware restart {self._machine}    # its console: stoneware logs {self._machine}",
        )


@contextlib.contextmanager
def talking(paths: Paths, timeout: float = COMES_UP) -> Iterator[Agent]:
    """Talk to a machine's agent, alone; one that is still to come up is waited for.

    Raises MachineError where the machine does not run, or its agent says nothing for `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    try:
        with contextlib.ExitStack() as held:
            # The agent answers in order and names no question: two at once would get each other's answers.
            held.enter_context(locked(paths.run / "agent.lock", timeout=timeout))
            connection = held.enter_context(connect(paths, AGENT, _ANSWERS))
            agent = Agent(paths.name, connection)
            while not _answers(agent, paths, min(_AGAIN, deadline - time.monotonic())):
                if time.monotonic() >= deadline:
                    raise silent(paths)
            yield agent
    except TimeoutError:
        raise silent(paths) from None


def power_off(paths: Paths) -> None:
    """Ask a machine's agent to switch it off, if it answers soon. Raises MachineError."""
    with talking(paths, _SOON) as agent:
        agent.order("guest-shutdown")


def _answers(agent: Agent, paths: Paths, timeout: float) -> bool:
    try:
        return agent.sync(max(0.01, timeout))
    except OSError:
        if shown_processes(paths).leader is None:
            raise not_running(paths) from None
        raise silent(paths) from None


def silent(paths: Paths) -> MachineError:
    """Return the error of a machine whose agent does not answer."""
    return MachineError(
        f"no agent answers in the machine {paths.name!r}",
        details="Commands and copies are done by the QEMU guest agent in a virtual machine.",
        resolution=f"stoneware logs {paths.name}    # does it boot? then: stoneware restart {paths.name}",
    )


def signal_line(number: int, group: int) -> list[str]:
    """Return the command that sends a signal to a process group of the machine."""
    return ["/bin/sh", "-c", 'kill -"$0" -- "-$1"', str(int(number)), str(int(group))]
