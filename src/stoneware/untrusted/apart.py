"""Calls that may never end, in a process of their own: for threads, where no signal interrupts them.

Python's pattern matching holds the interpreter while it runs, and only the main thread is interrupted by a
signal. Called elsewhere, as in the threads of Terraform's provider, one pattern would stop the whole process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from stoneware.untrusted.bounded import BoundsError, parts_until, time_limit

if TYPE_CHECKING:
    import subprocess

_BUSY = 60.0  # seconds that a busy computer may need for what is done in no time


def call(function: str, *arguments: Any, seconds: float) -> Any:
    """Return what `module:name` says to arguments, all of them JSON data.

    Raises BoundsError where it takes longer than `seconds` of the processor's time, or raises an error other
    than BoundsError itself.
    """
    if threading.current_thread() is threading.main_thread():
        with time_limit(seconds):
            return _named(function)(*arguments)
    with _lock:
        answer = _child.ask([function, *arguments], seconds)
    if "error" in answer:
        raise BoundsError(answer["error"])
    return answer["value"]


def _named(function: str) -> Any:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


class _Child:
    """The process, which serves one call after the other until it takes too long or we end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[str] = set()  # what it has imported

    def ask(self, request: list[Any], seconds: float) -> dict[str, Any]:
        """Return its answer to one request. Raises BoundsError, and ends it, where there is none in time."""
        try:
            if request[0] not in self._known:
                # The first call imports what it needs, whose time is not that of the pattern.
                self._exchange([_BUSY, request[0]], _BUSY)
                self._known.add(request[0])
            return self._exchange([seconds, *request], seconds + _BUSY)  # it keeps to its time by itself
        # A late answer would be taken for that of the next call.
        except BaseException:
            self._end()
            raise

    def _exchange(self, request: list[Any], seconds: float) -> dict[str, Any]:
        process = self._started()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        deadline = time.monotonic() + seconds
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise BoundsError("ends the process that it is checked in") from None
        answer = _line(process.stdout.fileno(), deadline)
        if answer is None:
            raise BoundsError(f"takes longer than {seconds:g} seconds")
        if not answer:
            raise BoundsError("ends the process that it is checked in")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            import subprocess

            from stoneware.process import tool_environment

            own = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}  # where we are
            # In a session of its own: Ctrl-C is ours. It ends with its input.
            self._process = subprocess.Popen(
                # With -P nothing of the current directory is imported.
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=tool_environment(own),
                cwd="/",
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        self._known.clear()
        if process is not None:
            process.kill()
            with process, contextlib.suppress(BrokenPipeError):
                pass


def _line(descriptor: int, deadline: float) -> bytes | None:
    """Return a line without its end, less where the writer has ended, None where the time is over."""
    data = bytearray()
    try:
        for part in parts_until(descriptor, deadline):
            data += part
            if data.endswith(b"\n"):
                return bytes(data)
    except TimeoutError:
        return None
    return b""


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        seconds, function, *arguments = json.loads(line)
        try:
            # Without arguments it is only to be imported, whatever time that takes.
            value = call(function, *arguments, seconds=seconds) if arguments else _named(function)
            answer = {"value": value if arguments else None}
        except BoundsError as error:
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": f"fails with {type(error).__name__}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


_child = _Child()
_lock = threading.Lock()

if __name__ == "__main__":
    _serve()
