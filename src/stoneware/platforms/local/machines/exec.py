"""Running commands in machines on our own standard streams, as `docker exec` does."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from stoneware.errors import HostError, InputError, MachineError
from stoneware.model.execution import PLAIN, Execution
from stoneware.platforms.local.machines import inside, own_terminal, relay
from stoneware.platforms.local.machines import users as machine_users
from stoneware.platforms.local.machines.output import output_of
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.relay import Inflow, Outflow
from stoneware.platforms.local.machines.runner import PATH, Command, Program, Streams
from stoneware.platforms.local.machines.runners import runner_of

_MOST_OUTPUT = 1 << 20  # bytes of a command's output that are kept, from its end
_END_OF_FILE = b"\x04"
_KEYS: dict[int, bytes] = {
    signal.SIGINT: b"\x03",
    signal.SIGQUIT: b"\x1c",
}  # what a terminal makes these signals of
_PATIENCE = 3  # interrupts that we pass on before we leave a command alone
_GRACE = 5.0  # seconds for a command to end once we have to


def execute(paths: Paths, argv: Sequence[str], how: Execution) -> int:
    """Run a command in a machine on our own standard streams and return its exit code.

    Arguments and environment pass as they are. As with Docker, a signal's death is 128 + its number. Raises
    InputError for an unknown user or a `tty` without a terminal, MachineError where nothing can be started.
    """
    if not argv:
        raise InputError("no command to run", resolution="stoneware exec NAME COMMAND …")
    if how.tty and how.interactive and not os.isatty(0):
        raise InputError("the input is not a terminal", resolution="stoneware exec -i … (without -t)")
    # The relays write to the descriptors, past what Python still has in its buffers.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    run = _on_terminal if how.tty else _on_pipes
    return run(paths, _program(paths, argv, how), interactive=how.interactive)


def capture(paths: Paths, argv: Sequence[str], how: Execution = PLAIN, *, timeout: float) -> tuple[int, str]:
    """Run a command in a machine and return its exit code and the end of what it said on both its streams.

    One that takes longer than `timeout` seconds is killed, with what it started; its code is then 124.
    """
    program = _program(paths, argv, how)
    code, said = output_of(paths, program, timeout=timeout, keep=_MOST_OUTPUT)
    return code, said.decode(errors="replace")


def _program(paths: Paths, argv: Sequence[str], how: Execution) -> Program:
    """Return what runs in the machine: the user by number, with what every command has in its environment."""
    who = machine_users.resolve(paths, how.user)
    environment = {"PATH": PATH, "HOME": who.home, **runner_of(paths).environment}
    if how.tty:
        environment["TERM"] = os.environ.get("TERM", "xterm")
    return Program(argv, who, {**environment, **how.env}, how.workdir or "/")


def _on_pipes(paths: Paths, program: Program, *, interactive: bool) -> int:
    with contextlib.ExitStack() as stack:
        pipes = [relay.pipe(), relay.pipe()]
        flows = [Outflow(pipe[0], _ours(stream)) for pipe, stream in zip(pipes, (1, 2), strict=True)]
        for flow in flows:
            stack.callback(flow.finish)
        try:
            stdout, stderr = (writer for _, writer in pipes)
            streams = Streams(stdout, stderr, feed=interactive)
            command = stack.enter_context(inside.start(paths, program, streams))
        finally:
            # While we hold one ourselves, the reader never sees the end of the output.
            for _, writer in pipes:
                os.close(writer)
        interrupts = itertools.count(1)

        def handle(number: int) -> None:
            if number == signal.SIGTSTP:
                command.kill(signal.SIGSTOP)
                # SIGTSTP is taken by us now and would stop nothing.
                os.kill(os.getpid(), signal.SIGSTOP)
                command.kill(signal.SIGCONT)
            elif next(interrupts) >= _PATIENCE:
                raise KeyboardInterrupt
            else:
                command.kill(number)

        for flow in flows:
            flow.start()
        taken = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
        signals = stack.enter_context(_Signals(taken))
        if interactive and command.stdin is not None:
            inflow = Inflow(0, command.stdin, ended=command.end_input)
            stack.callback(inflow.finish)
            inflow.start()
        # Not SIGKILL: where we are told to end, the command gets a moment to do so in order.
        code = _wait(command, signals, handle, last=signal.SIGTERM)
    _check([flow.error for flow in flows])
    return code


def _on_terminal(paths: Paths, program: Program, *, interactive: bool) -> int:
    with contextlib.ExitStack() as stack:
        command, terminal = stack.enter_context(
            runner_of(paths).on_terminal(paths, program, own_terminal.resize)
        )
        raw = stack.enter_context(own_terminal.raw(0)) if interactive else None
        signals = stack.enter_context(_Signals((*_KEYS, signal.SIGCONT, signal.SIGWINCH)))
        outflow = Outflow(terminal.master, _ours(1), pty=terminal, failed=lambda: signals.send(signal.SIGHUP))
        interrupts = itertools.count(1)

        def handle(number: int) -> None:
            if number in _KEYS:
                if next(interrupts) >= _PATIENCE:  # its terminal may make no signals of keys
                    raise KeyboardInterrupt
                with contextlib.suppress(BlockingIOError):
                    os.write(terminal.master, _KEYS[number])
            elif number == signal.SIGHUP:  # its output is not read any more
                command.kill(signal.SIGHUP)
            else:
                if raw is not None and number == signal.SIGCONT:
                    raw.take()
                own_terminal.resize(terminal.master)

        stack.callback(outflow.finish)
        outflow.start()
        if interactive:
            inflow = Inflow(0, terminal.master, ended=lambda: signals.send(signal.SIGHUP))
            stack.callback(inflow.finish)
            inflow.start()
        else:
            # -t without -i: what reads its input finds the end of it.
            os.write(terminal.master, _END_OF_FILE)
        signals.send(signal.SIGWINCH)  # it may have changed before we listened
        code = _wait(command, signals, handle, last=signal.SIGHUP)
    _check([outflow.error])
    return code


def _ours(stream: int) -> int | None:
    """Return one of our standard streams; None where it is closed, and its number may be something else."""
    return stream if (sys.__stdout__, sys.__stderr__)[stream - 1] is not None else None


def _check(errors: Sequence[OSError | None]) -> None:
    for error in errors:
        # A reader that has gone is no news: the command has been told, as by a pipe of its own.
        if error is not None and not isinstance(error, BrokenPipeError):
            raise HostError("the output of the command cannot be written", details=str(error))


def _wait(command: Command, signals: _Signals, handle: Callable[[int], None], *, last: signal.Signals) -> int:
    """Wait for a command's end; a signal that ends us ends it, with `last` first."""
    try:
        while (code := command.poll()) is None:
            command.wait_with([signals.fileno()])
            for number in signals.taken():
                handle(number)
    except KeyboardInterrupt:
        command.kill(last)
        # Killed before it had begun, or its machine says nothing any more: we end by the signal all the same.
        with contextlib.suppress(TimeoutError, MachineError):
            command.wait(_GRACE)
        raise
    return code


class _Signals:
    """Takes signals that are for the command, not for us. In a thread it takes none: those get none.

    Python's handlers run between two instructions: of a signal that comes just before a wait begins they
    would know when that ends. So the interpreter itself writes each to a pipe, which the wait is for as well.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._before: dict[int, Any] = {}
        self._sent: set[int] = set()
        self._wakeup = -1
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            for number in self._numbers:
                # What our caller has us ignore, as nohup(1) does, we go on ignoring.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, lambda _number, _frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._reader

    def send(self, number: int) -> None:
        """Have `taken` return a signal."""
        self._sent.add(number)
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, bytes([number]))

    def taken(self) -> list[int]:
        """Return the signals that have come since."""
        try:
            come = os.read(self._reader, 64)
        except BlockingIOError:
            return []
        return [number for number in come if number in self._before or number in self._sent]
