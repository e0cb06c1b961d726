"""What a bake does aside: waited for, with its errors told."""

from __future__ import annotations

import threading

import pytest

from stoneware.bake.background import Background
from stoneware.errors import MachineError

pytestmark = pytest.mark.pure


def test_it_runs_at_once_and_is_over_when_waited_for() -> None:
    begun, free, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        free.wait()
        done.append(1)

    aside = Background(work)
    assert begun.wait(300)
    assert done == []
    free.set()
    aside.wait()
    assert done == [1]


def test_what_it_raises_is_raised_by_whoever_waits() -> None:
    def fail() -> None:
        raise MachineError("no")

    aside = Background(fail)
    with pytest.raises(MachineError, match="no"):
        aside.wait()
