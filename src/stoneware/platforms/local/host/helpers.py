"""Helpers: the small servers of a store that outlive the command which started them.

Each has a record `NAME.pid.json` with its process id and start time, so that an id given to another process
later is never taken for the helper, and a log `NAME.log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.files import read_json, write_json
from stoneware.platforms.local.host import process_limits
from stoneware.process import tool_environment
from stoneware.process_identity import ProcessIdentity, command_line, identify, network_namespace, pids

_LOG_LIMIT = 2**20  # bytes; a longer log is begun again (by the metadata server too: console_times)


@dataclass(frozen=True)
class Helper:
    """One helper of a store, by the directory of its record and its name."""

    directory: Path
    name: str

    @property
    def log(self) -> Path:
        """The file with the helper's output."""
        return self.directory / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """The file that says which process the helper is."""
        return self.directory / f"{self.name}.pid.json"

    def process(self) -> ProcessIdentity | None:
        """Return the helper's process when it runs, else None."""
        try:
            value = read_json(self.record)
            process = ProcessIdentity(int(value["pid"]), int(value["start"])) if value else None
        except (ValueError, KeyError, TypeError):
            return None
        return process if process is not None and process.alive else None

    def spawn(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> ProcessIdentity:
        """Start the helper in a session of its own, its output going to the log. Raises HostError.

        `env` is added to the environment of system tools.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.unlink()
        # The shell ends at once: init adopts the helper, so no zombie stays in a long-lived command.
        script = 'exec 3>&1 >&2; "$@" 3>&- & echo $! >&3'
        with self.log.open("ab") as log:
            done = subprocess.run(
                ["sh", "-c", script, self.name, *process_limits.plain(argv)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=tool_environment(env),
                # It outlives the command, and must not hold the directory that this was given in.
                cwd="/",
                start_new_session=True,
                check=True,
            )
        process = identify(int(done.stdout))
        if process is None:
            raise self.failure()
        write_json(self.record, asdict(process))
        return process

    def stop(self, timeout: float = 3.0) -> None:
        """End the helper, by force after `timeout` seconds, and forget it. No error when it is gone."""
        process = self.process()
        if process is not None:
            _signal(process, signal.SIGTERM)
            if not _wait_gone(process, timeout):
                _signal(process, signal.SIGKILL)
                _wait_gone(process, timeout)
        self.record.unlink(missing_ok=True)

    def reload(self) -> None:
        """Send the helper SIGHUP if it runs."""
        process = self.process()
        if process is not None:
            _signal(process, signal.SIGHUP)

    def failure(self) -> HostError:
        """Return the error that says how the helper failed: the end of its log."""
        tail = self.log.read_text(errors="replace").splitlines()[-5:] if self.log.exists() else []
        return HostError(
            f"the store's {self.name} does not start",
            details="\n".join(tail),
            resolution=f"stoneware doctor    # the whole log is {self.log}",
        )


def end_strays(namespace: int, word: str) -> int:
    """End the processes of a network namespace (by inode) with `word` in their command line; count them.

    They are helpers whose record was lost, for instance because the command was killed right after it had
    started them. Programs that happen to run there, machines above all, have another command line.
    """
    found = (pid for pid in pids() if network_namespace(pid) == namespace and word in command_line(pid))
    strays = [process for pid in found if (process := identify(pid))]
    for process in strays:
        _signal(process, signal.SIGKILL)
        _wait_gone(process, 3.0)
    return len(strays)


def _signal(process: ProcessIdentity, number: int) -> None:
    try:
        # Opened before the look whether it is the one: from then on the number cannot be another process's.
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        if process.alive:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def _wait_gone(process: ProcessIdentity, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
