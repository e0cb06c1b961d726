"""How long a driver waits for its builder, and how often it looks."""

from __future__ import annotations

import time
from collections.abc import Callable

from stoneware.dataclass import dataclass
from stoneware.platforms.builders import Builder


@dataclass(frozen=True)
class Pace:
    """How a driver waits; all times are in seconds."""

    poll: float = 0.005  # between two looks at what the builder reported, at least
    # At the rate of `poll` all the while, a bake took a sixth of a processor.
    longest_poll: float = 0.05  # at most, while the builder says nothing
    look: float = 0.1  # between two looks at whether it lives
    removal: float = 2.0  # a builder that has ended may take to be gone, if somebody removes it
    boot_limit: float = 120.0  # until the agent must have reported once
    silence: float = 12.0  # without a beat of the builder, which has one every 2 s (see pace_of)
    drain_limit: float = 5.0  # the console may say nothing while it lags behind the agent's report
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def pace_of(builder: Builder) -> Pace:
    """Return how to wait for a builder: six of its beats for a sign of life, sixty for the first."""
    return Pace(silence=6 * builder.beat, boot_limit=60 * builder.beat)
