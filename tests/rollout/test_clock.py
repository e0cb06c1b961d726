"""The clock of a rollout's limits: nobody sets it, and it stands still while the process does."""

from __future__ import annotations

import pytest

from stoneware.rollout.clock import ProcessClock

pytestmark = pytest.mark.pure


def test_time_without_this_process_does_not_count() -> None:
    now = [100.0]
    clock = ProcessClock(lambda: now[0])
    began = clock.ran()
    for passed in (0.5, 1.0, 4.0):
        now[0] += passed
        clock.ran()
    assert clock.ran() - began == pytest.approx(5.5)
    now[0] += 36000  # the computer slept, or somebody stopped the process
    assert clock.ran() - began < 5.5 + 5
    now[0] += 2
    assert clock.ran() - began >= 5.5 + 2


def test_the_time_of_day_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ProcessClock()
    began = clock.ran()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert clock.time() == 0.0
    assert 0 <= clock.ran() - began < 60
