"""A runner whose machines are this computer: commands are processes here, so no machine is booted."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import NO_STREAMS, Command, Program, Streams, Terminal


class HereCommand:
    """A process as a command of a machine: see `runner.Command`."""

    def __init__(self, program: Program, streams: Streams, terminal: int | None = None) -> None:
        self.stdin: int | None = None
        reader = subprocess.DEVNULL
        if streams.feed:
            reader, self.stdin = os.pipe2(os.O_CLOEXEC)
        outputs = [subprocess.DEVNULL if one is None else one for one in (streams.stdout, streams.stderr)]
        self._process = subprocess.Popen(
            list(program.argv),
            stdin=reader if terminal is None else terminal,
            stdout=outputs[0] if terminal is None else terminal,
            stderr=outputs[1] if terminal is None else terminal,
            env=dict(program.env),
            cwd=program.workdir,
            start_new_session=True,
        )
        if self.stdin is not None:
            os.close(reader)
            os.set_blocking(self.stdin, False)
        self._pidfd = os.pidfd_open(self._process.pid)

    def __enter__(self) -> HereCommand:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
            self._process.wait()
        self.end_input()
        os.close(self._pidfd)

    def end_input(self) -> None:
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def wait_with(self, others: Sequence[int], timeout: float | None = None) -> list[int]:
        poll = select.poll()
        for descriptor in (self._pidfd, *others):
            poll.register(descriptor, select.POLLIN)
        found = [descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)]
        return [descriptor for descriptor in found if descriptor != self._pidfd]

    def poll(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self, timeout: float | None = None) -> int:
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return self.poll() or 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class HereTerminal:
    """A pty of this computer."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)

    def close_slave(self) -> None:
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1


class HereRunner:
    """What commands, copies and users ask of a runner."""

    environment: Mapping[str, str] = {"container": "here"}

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs: list[Program] = []

    def files(self, _paths: Paths) -> Path:
        return self.root

    def start(self, _paths: Paths, program: Program, streams: Streams) -> Command:
        self.programs.append(program)
        return HereCommand(program, streams)

    @contextlib.contextmanager
    def on_terminal(
        self, _paths: Paths, program: Program, resize: Callable[[int], None]
    ) -> Iterator[tuple[Command, Terminal]]:
        self.programs.append(program)
        terminal = HereTerminal()
        resize(terminal.master)
        with HereCommand(program, NO_STREAMS, terminal.slave) as command:
            yield command, terminal
        terminal.close_slave()
        os.close(terminal.master)
