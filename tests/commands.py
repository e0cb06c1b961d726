"""Runs `stoneware` by a process that has loaded it: loading modules is half of what a short command takes.

`run` does what `subprocess.run` does of the program, in a fork of a server that has imported all that
commands do. The fork goes through `stoneware.cli.main.main` to the interpreter's end, as any process does.
What is about signals, starts and imports has processes of its own, as `ClusterLab.start` gives them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = [sys.executable, "-m", "stoneware.cli.main"]
_MESSAGE = 1 << 20  # bytes at most: words and environment
# What Python looks at when it starts, and where coverage counts what processes run: not as the server has it.
_STARTS = ("PYTHON", "LC_", "LANG", "COVERAGE_", "TZ", "LD_")
# Packages whose modules commands load, sooner or later.
_PRELOADED = (
    "bake",
    "cli.commands",
    "cluster",
    "compose",
    "image",
    "launch",
    "platforms.google",
    "platforms.local",
    "rollout",
    "terraform",
    "ui",
)
_APPLYING = ("stoneware.provider.infrastructure", "stoneware.provider.server")


def run(
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float | None = None,
    started: Callable[[int], object] = id,
) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing on its standard input, and return its exit code and output.

    `started` is told its process id.
    """
    argv = [*PROGRAM, *words]
    if _starting(env) != _starting(os.environ) or any(name.startswith("COVERAGE_") for name in env):
        return _run_here(argv, env, cwd, timeout, started)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = _Server.started().run(
            words, env, cwd or Path.cwd(), (out.fileno(), err.fileno()), timeout=timeout, started=started
        )
        if code is None:
            raise subprocess.TimeoutExpired(argv, timeout or 0)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


def _run_here(
    argv: list[str],
    env: Mapping[str, str],
    cwd: Path | None,
    timeout: float | None,
    started: Callable[[int], object],
) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        started(process.pid)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def run_in(
    words: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory, as those who are given what runs commands call it."""
    return run(words, env=environment, cwd=directory)


def _starting(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_STARTS)}


class _Server:
    """The process that forks; it ends with this one."""

    _one: _Server | None = None
    _starting = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        atexit.register(self.end)

    @classmethod
    def started(cls) -> _Server:
        with cls._starting:
            if cls._one is None or cls._one._pid != os.getpid():
                cls._one = cls()
            return cls._one

    def end(self) -> None:
        if self._pid == os.getpid():
            self._control.close()
            self._process.wait()

    def run(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        outputs: tuple[int, int],
        *,
        timeout: float | None,
        started: Callable[[int], object],
    ) -> int | None:
        """Run a command; return its exit code, None where it was killed after its time."""
        asked = {
            "words": list(words),
            "env": dict(env),
            "cwd": str(cwd),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
        }
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._control, [json.dumps(asked).encode()], [theirs.fileno(), *outputs])
            # The fork's id, and its end.
            with ours.makefile() as told:
                pid = int(told.readline())
                started(pid)
                ours.settimeout(timeout)
                try:
                    return int(told.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    return None


def _load() -> None:
    """Import what commands do, and have made what they make once."""
    import gc
    import importlib
    import pkgutil

    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # as the program does
    for name in _PRELOADED:
        package = importlib.import_module(f"stoneware.{name}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    for name in _APPLYING:
        importlib.import_module(name)
    from stoneware.compose import schema

    for part in schema.SECTIONS.values():
        part.model_rebuild()
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket) -> None:
    """Fork for each message, until nobody sends any; return in the fork that is to be the command."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for the forks
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            _wait_for_fork(json.loads(message), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_for_fork(asked: dict[str, Any], descriptors: list[int]) -> None:
    """Tell of the fork that is the command, and end; return in that fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        _tell(pid, descriptors)
    teller, out, err = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in (teller, out, err):
        os.close(descriptor)
    os.setpriority(os.PRIO_PROCESS, 0, asked["priority"])
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    tempfile.tempdir = None
    sys.argv = [PROGRAM[-1], *asked["words"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _tell(pid: int, descriptors: list[int]) -> NoReturn:
    os.write(descriptors[0], f"{pid}\n".encode())
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for one that was killed after its time
        os.write(descriptors[0], f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    del sys.path[0]  # the directory of the tests
    _load()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        _serve(given)
    from stoneware.cli.main import main

    main()
