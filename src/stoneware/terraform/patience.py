"""How long a Terraform command may take, and what a Ctrl-C means to one that must not be cut off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from stoneware.dataclass import dataclass
from stoneware.durations import parse_duration
from stoneware.errors import MachineError

GRACE = 30.0  # seconds Terraform gets to end after an interrupt before it is killed
VARIABLE = "STONEWARE_TERRAFORM_TIMEOUT"
# Google may take 20 minutes each for a machine's end, its start, and until it runs; ten are done at a time.
_LEAST = 3600.0  # seconds
_EACH = 60.0  # seconds more for each resource
_SHOWN = 10  # resources in the words about a command that takes too long
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Patience:
    """`limit` is in seconds. A `held` command is not interrupted: what it makes would be lost from the state.

    `leave`: it may go on without us, since it holds the state's lock itself. `tell` gets the sentences for
    whoever presses Ctrl-C meanwhile.
    """

    limit: float = _LEAST
    held: bool = False
    leave: bool = True
    tell: Tell = lambda _: None


def time_limit(resources: int) -> float:
    """Return how many seconds a command on so many resources may take. Raises InputError."""
    chosen = os.environ.get(VARIABLE)
    return parse_duration(chosen, VARIABLE) if chosen else _LEAST + _EACH * resources


def late(what: str, limit: float, directory: Path, under_way: Mapping[str, str]) -> MachineError:
    """Return the error about a command that was ended because its time was over."""
    at_work = [f"{action} of {address}" for address, action in list(under_way.items())[:_SHOWN]]
    if len(under_way) > _SHOWN:
        at_work.append(f"and {len(under_way) - _SHOWN} more")
    within = f"{limit / 60:.0f} minutes" if limit >= 120 else f"{limit:.0f} seconds"
    return MachineError(
        f"Terraform could not {what} within {within}, and was ended",
        details="\n".join([f"in {directory}", *(f"not done: {each}" for each in at_work)]),
        resolution=(
            "run the command again: it takes over what was made meanwhile\n"
            f"{VARIABLE}={max(limit * 2 / 3600, 1):.0f}h stoneware …    # lets it take longer"
        ),
    )


class Deadline:
    """Ends a process that takes longer than it may: as by Ctrl-C, and by force after GRACE; in a `with`."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._process = process
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        if self._ended.wait(self._seconds):
            return
        self.passed = True
        self._process.send_signal(signal.SIGINT)
        if not self._ended.wait(GRACE):
            self._process.kill()


class Interrupts:
    """The interrupts that came while they were held back; raised as one at the end."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._came = False
        self.left = False  # whether it was said twice: the command goes on without us

    def take(self, before: object, number: int, frame: FrameType | None) -> None:
        """Do what a signal did before, but for the end of the command, which waits."""
        try:
            if callable(before):
                before(number, frame)
        except KeyboardInterrupt:
            if self._came and self._patience.leave:
                self.left = True
                raise
            self._came = True
            further = "; Ctrl-C once more leaves it to end by itself" if self._patience.leave else ""
            self._patience.tell(
                "Terraform is at work on machines and is not interrupted, since it would lose them: "
                f"stopping as soon as it has ended{further}"
            )

    def raise_held(self) -> None:
        """Raise the interrupt that was held back, if there was one."""
        if self._came:
            raise KeyboardInterrupt


@contextlib.contextmanager
def held_back(patience: Patience) -> Iterator[Interrupts]:
    """Hold interrupts back while a command runs that must not be cut off, and raise them after it.

    What the process does with a signal otherwise is done, so a rollout takes the first for its own. Other
    threads than the first never get one.
    """
    found = Interrupts(patience)
    if not patience.held or threading.current_thread() is not threading.main_thread():
        yield found
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # A signal that is ignored, or ends this process at once, has nothing that could be held back.
    taken = {number: each for number, each in handlers.items() if callable(each)}
    try:
        for number, before in taken.items():
            signal.signal(number, partial(found.take, before))
        yield found
    finally:
        for number, before in taken.items():
            signal.signal(number, before)
    found.raise_held()


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Have a signal that comes within the block do what it does at the block's end.

    For the start of a process: an interrupt between its first breath and our taking note of it would lose it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # SIGINT is taken first and given back last, so that Ctrl-C finds either all as it was or all held back.
    taken = {number: each for number in _SIGNALS if callable(each := signal.getsignal(number))}
    try:
        for number in taken:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number in reversed(taken):
            signal.signal(number, taken[number])
        for arrived in came:
            signal.raise_signal(arrived)
