"""What people ask of a running rollout: by a file that other commands write, and by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from types import FrameType

from stoneware.cluster.directory import ClusterDirectory
from stoneware.dataclass import dataclass
from stoneware.files import write_json
from stoneware.untrusted.bounded import bounded_json, read_bounded

REQUEST_FILE = "rollout.request"
REQUESTS = ("pause", "abort", "rollback")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def request_path(directory: ClusterDirectory) -> Path:
    """Return where requests to the driver of a cluster's rollout are put."""
    return directory.path / REQUEST_FILE


def put_request(directory: ClusterDirectory, rollout: str, request: str, who: str) -> None:
    """Ask the living driver of a rollout for something."""
    write_json(request_path(directory), {"rollout": rollout, "request": request, "who": who})


def asked_by(who: str) -> str:
    """Return as a reason that somebody asked for it."""
    return f"asked for by {who}" if who else "asked for"


@dataclass
class FileControl:
    """The requests to this process. `ask` is asked whether to go on after a canary.

    Within `signals`, the first Ctrl-C is the wish to stop after the machine that is being changed, the second
    one stops at once; a request to end or a lost terminal counts as Ctrl-C.
    """

    directory: ClusterDirectory
    rollout: str
    ask: Callable[[Sequence[str]], bool] = lambda _: False
    notice: Callable[[str], None] = lambda _: None
    _interrupted: threading.Event = field(default_factory=threading.Event)
    _asker: str = ""

    def request(self) -> str:
        """Return what was asked for since the last call, or nothing."""
        if self._interrupted.is_set():
            self._interrupted.clear()
            return "interrupt"
        path = request_path(self.directory)
        try:
            document = bounded_json(read_bounded(path, 1 << 16))
        except FileNotFoundError:
            return ""
        except ValueError:
            document = {}
        # Taken once, damaged or not: a request that cannot be read would be read for ever.
        path.unlink(missing_ok=True)
        # A request for an earlier rollout, whose driver was killed before it looked.
        if not isinstance(document, dict) or document.get("rollout") != self.rollout:
            return ""
        asked = str(document.get("request", ""))
        self._asker = str(document.get("who", ""))
        return asked if asked in REQUESTS else ""

    def asker(self) -> str:
        """Return who asked for what was returned last."""
        return self._asker

    def forget(self) -> None:
        """Drop a request that was not taken."""
        request_path(self.directory).unlink(missing_ok=True)

    def confirm_canary(self, machines: Sequence[str]) -> bool:
        """Ask whether to go on after the canary."""
        return self.ask(machines)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Take Ctrl-C for requests; signals that were ignored before (nohup) stay so."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        taken = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
        count = 0

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            nonlocal count
            count += 1
            if count > 1:
                raise KeyboardInterrupt
            self._interrupted.set()
            self.notice("stopping after the machines that are being changed; Ctrl-C once more stops at once")

        try:
            for number in taken:
                signal.signal(number, interrupt)
            yield
        finally:
            for number in taken:
                signal.signal(number, before[number])
