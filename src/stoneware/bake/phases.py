"""The phases of a bake besides its steps, as a reporter is told of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from stoneware.bake.events import PhaseFinished, PhaseStarted, Reporter


@contextlib.contextmanager
def phase(reporter: Reporter, name: str, text: str) -> Iterator[None]:
    """Tell that a phase begins and, unless it fails, that it is over."""
    started = time.monotonic()
    reporter.emit(PhaseStarted(name, text))
    yield
    reporter.emit(PhaseFinished(name, time.monotonic() - started))
