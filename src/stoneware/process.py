"""Running other programs: argv lists only, no shell, no inherited standard input."""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.errors import HostError, StonewareError

# What system tools need of our environment. Everything else stays out, so that a user's shell
# settings cannot change what a tool does.
_KEEP = (
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


MOST_OUTPUT = 64 << 20  # bytes, on both streams together; the longest lists of any tool have a tenth


class ProcessError(StonewareError):
    """A program ended with an error; `returncode` and `stderr` say how."""

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str) -> None:
        super().__init__(
            f"{Path(argv[0]).name} failed with exit code {returncode}",
            details=f"$ {shlex.join(argv)}\n{stderr.strip()}".strip(),
        )
        self.argv = list(argv)
        self.returncode = returncode
        self.stderr = stderr


class OutputError(HostError):
    """A program says more than anything that it is asked for; it was ended."""

    def __init__(self, argv: Any, most: int) -> None:
        super().__init__(
            f"{Path(argv[0]).name} says more than {most >> 20} MiB, and was ended",
            details=f"$ {shlex.join(argv)}",
            resolution="stoneware doctor    # then look at what the program says by itself",
        )


def tool_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of system tools: an allow-list, the C.UTF-8 locale and `extra`."""
    env = {name: os.environ[name] for name in _KEEP if name in os.environ}
    # Most of these tools are in sbin, which many a PATH leaves out.
    env["PATH"] = f"{env.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"
    env["LC_ALL"] = "C.UTF-8"  # what they say is read here, and not by people
    env.update(extra or {})
    return env


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout: float | None = None,
    most: int = MOST_OUTPUT,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with its output captured as text.

    `env` is added to `tool_environment()`; `timeout` is in seconds, `most` in bytes of what it may say.
    Undecodable output is kept by surrogate escapes. Raises `HostError` where the program is missing,
    `OutputError` where it says more, and `ProcessError` where it fails and `check` is set.
    """
    words = [str(word) for word in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    with _started(words, tool_environment(env), cwd, reads=data is not None) as child:
        try:
            deadline = None if timeout is None else time.monotonic() + timeout
            stdout, stderr = _exchange(child, data, deadline, most)
            child.wait(_left(deadline))
        except BaseException:  # at a Ctrl-C too: leaving the `with` waits for its end
            child.kill()
            raise
    text = subprocess.CompletedProcess(
        words,
        child.returncode,
        stdout.decode(errors="surrogateescape"),
        stderr.decode(errors="surrogateescape"),
    )
    if check and child.returncode != 0:
        raise ProcessError(words, child.returncode, text.stderr or text.stdout)
    return text


def _started(
    words: Sequence[str], env: Mapping[str, str], cwd: Path | None, *, reads: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise HostError(
            f"the program {words[0]!r} is not on this computer",
            resolution="stoneware doctor    # shows what is missing and how to install that",
        ) from error


def _exchange(
    child: subprocess.Popen[bytes], data: bytes | None, deadline: float | None, most: int
) -> tuple[bytes, bytes]:
    """Give a program its input and return what it says, as it says it: nothing may fill our memory."""
    said: dict[Any, bytearray] = {child.stdout: bytearray(), child.stderr: bytearray()}
    left = memoryview(data or b"")
    with selectors.DefaultSelector() as streams:
        for output in said:
            streams.register(output, selectors.EVENT_READ)
        if child.stdin is not None:
            # A program that says much before it reads would else wait for us, and we for it.
            os.set_blocking(child.stdin.fileno(), False)
            streams.register(child.stdin, selectors.EVENT_WRITE)
        while streams.get_map():
            ready = streams.select(_left(deadline))
            if _left(deadline) == 0:
                raise subprocess.TimeoutExpired(child.args, 0.0)
            for key, events in ready:
                stream: Any = key.fileobj
                if events & selectors.EVENT_WRITE:
                    left = _fed(stream.fileno(), left)
                    ended = not left
                else:
                    part = os.read(stream.fileno(), 1 << 16)
                    said[stream] += part
                    ended = not part
                if ended:
                    streams.unregister(stream)
                    stream.close()
            if sum(map(len, said.values())) > most:
                raise OutputError(child.args, most)
    return bytes(said[child.stdout]), bytes(said[child.stderr])


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _fed(descriptor: int, left: memoryview) -> memoryview:
    """Write what there is room for and return the rest; nothing where nobody reads it any more."""
    try:
        return left[os.write(descriptor, left) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[:0]


def which(program: str) -> Path | None:
    """Return the path of a program, looking into the sbin directories as well, or None."""
    found = shutil.which(program, path=tool_environment()["PATH"])
    return Path(found) if found else None
