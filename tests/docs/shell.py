"""One bash for a whole page: its directory, variables and files last from block to block."""

from __future__ import annotations

import os
import secrets
import selectors
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class Shell:
    """Runs commands as a user at a terminal would, with both outputs together."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=dict(env),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        if self._shell.stdout is not None:
            self._shell.stdout.close()
        try:
            self._shell.wait(5)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()

    def run(self, command: str, timeout: float = 600) -> tuple[str, int]:
        """Run a command and return its output and exit code. Raises TimeoutError."""
        mark = f"--{secrets.token_hex(8)}--"
        stdin, stdout = self._shell.stdin, self._shell.stdout
        assert stdin is not None
        assert stdout is not None
        # The command's input is not ours, or it would read what comes after it.
        script = f"{{ {command}\n}} </dev/null\nprintf '\\n%s %s\\n' '{mark}' \"$?\"\n"
        stdin.write(script.encode())
        stdin.flush()
        return self._read(stdout.fileno(), mark, time.monotonic() + timeout)

    def _read(self, descriptor: int, mark: str, deadline: float) -> tuple[str, int]:
        data = b""
        ending = f"\n{mark} ".encode()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while ending not in data or not data.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError(data.decode(errors="replace"))
                chunk = os.read(descriptor, 65536)
                if not chunk:
                    raise AssertionError(f"the shell ended: {data.decode(errors='replace')}")
                data += chunk
        output, _, code = data.rpartition(ending)
        return output.decode(errors="replace"), int(code)
