"""Running other programs: argv lists only, no shell, no inherited standard input."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

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


def tool_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of system tools: an allow-list, the C.UTF-8 locale and `extra`."""
    env = {name: os.environ[name] for name in _KEEP if name in os.environ}
    env["PATH"] = f"{env.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"
    env["LC_ALL"] = "C.UTF-8"
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
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with its output captured as text.

    `env` is added to `tool_environment()`; `timeout` is in seconds. Undecodable output is kept by
    surrogate escapes. Raises `HostError` where the program is missing and `ProcessError` where it
    fails and `check` is set.
    """
    words = [str(word) for word in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            words,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env=tool_environment(env),
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise HostError(
            f"the program {words[0]!r} is not on this computer",
            resolution="stoneware doctor    # shows what is missing and how to install that",
        ) from error
    text = subprocess.CompletedProcess(
        words,
        done.returncode,
        done.stdout.decode(errors="surrogateescape"),
        done.stderr.decode(errors="surrogateescape"),
    )
    if check and done.returncode != 0:
        raise ProcessError(words, done.returncode, text.stderr or text.stdout)
    return text


def which(program: str) -> Path | None:
    """Return the path of a program, looking into the sbin directories as well, or None."""
    found = shutil.which(program, path=tool_environment()["PATH"])
    return Path(found) if found else None
