"""Asking several machines at the same time, as many as a platform says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Asked(Protocol):
    """What is asked."""

    @property
    def at_once(self) -> int:
        """Return how many questions may be asked at the same time."""
        ...


def each(platform: Asked, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do something with each of some items, which ask a machine each, and return what comes of them in order.

    An error ends it once those under way have ended.
    """
    if platform.at_once < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(platform.at_once, len(items))) as pool:
        return list(pool.map(work, items))
