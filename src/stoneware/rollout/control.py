"""What people ask of a running rollout: by a record that other commands write, and by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from types import FrameType

from stoneware.cluster.directory import ClusterDirectory
from stoneware.dataclass import dataclass
from stoneware.platforms.cluster_records import Document
from stoneware.records import DamagedError

REQUESTS = ("pause", "abort", "rollback")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def put_request(directory: ClusterDirectory, rollout: str, request: str, who: str) -> None:
    """Ask the living driver of a rollout for something."""
    document = {"rollout": rollout, "request": request, "who": who}
    directory.records.write(Document.REQUEST, document)


def asked_by(who: str) -> str:
    """Return as a reason that somebody asked for it."""
    return f"asked for by {who}" if who else "asked for"


@dataclass
class RecordControl:
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
    _next_look: float = 0.0

    def request(self) -> str:
        """Return what was asked for since the last call, or nothing."""
        if self._interrupted.is_set():
            self._interrupted.clear()
            return "interrupt"
        records = self.directory.records
        if time.monotonic() < self._next_look:
            return ""
        # Where records are objects in a bucket, each look is a request.
        self._next_look = time.monotonic() + records.look_every
        try:
            document = records.read(Document.REQUEST)
        except DamagedError:
            document = {}
        if document is None:
            return ""
        # Taken once, damaged or not: a request that cannot be read would be read for ever.
        records.remove(Document.REQUEST)
        # A request for an earlier rollout, whose driver was killed before it looked.
        if document.get("rollout") != self.rollout:
            return ""
        asked = str(document.get("request", ""))
        self._asker = str(document.get("who", ""))
        return asked if asked in REQUESTS else ""

    def asker(self) -> str:
        """Return who asked for what was returned last."""
        return self._asker

    def forget(self) -> None:
        """Drop a request that was not taken."""
        self.directory.records.remove(Document.REQUEST)

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
