"""Random clusters, random faults, random kills: what may never happen does not, and everything ends."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoneware.rollout.state import Mode, Outcome
from tests.rollout.conftest import MEMORY
from tests.rollout.scenario import make_world

pytestmark = pytest.mark.pure

_TIMES = st.integers(0, 80)
_NAMES = st.sampled_from(["kafka-1", "kafka-2", "kafka-3"])
_EVENTS = st.one_of(
    st.builds(lambda at, name: {"at": at, "kill": name}, _TIMES, _NAMES),
    st.builds(lambda at, name: {"at": at, "start": name}, _TIMES, _NAMES),
    st.builds(lambda at, leader: {"at": at, "leader": leader}, _TIMES, st.integers(1, 3)),
    st.builds(lambda at, error: {"at": at, "error": error}, _TIMES, st.sampled_from(["", "refused"])),
    st.builds(lambda at, lag: {"at": at, "behind": {2: lag}}, _TIMES, st.sampled_from([-1, 0, 5000])),
    st.builds(
        lambda at, what: {"at": at, "request": what},
        _TIMES,
        st.sampled_from(["pause", "interrupt", "rollback"]),
    ),
)
_RELEASES = st.fixed_dictionaries(
    {},
    optional={
        "fails": st.just("broken"),
        "never_healthy": st.just(True),
        "crashes_after": st.integers(2, 30),
        "unhealthy_after": st.integers(2, 30),
        "healthy": st.integers(2, 40),
    },
)
_WORLDS = st.fixed_dictionaries(
    {
        "kafka": st.fixed_dictionaries({"leader": st.integers(1, 3), "catch_up": st.integers(0, 30)}),
        "releases": st.fixed_dictionaries({"new": _RELEASES}),
        "policy": st.fixed_dictionaries(
            {
                "parallelism": st.integers(0, 3),
                "failure_action": st.sampled_from(["rollback", "pause", "continue"]),
                "monitor": st.integers(0, 10),
            }
        ),
        "events": st.lists(_EVENTS, max_size=6).map(lambda items: sorted(items, key=lambda item: item["at"])),
        "canary": st.sampled_from([[], ["kafka-2"]]),
    }
)
_KILLS = st.lists(st.integers(1, 12), max_size=4)
_MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_MANY
@given(_WORLDS, _KILLS)
def test_no_partition_and_no_quorum_is_lost_because_of_us(document: dict[str, Any], kills: list[int]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        world = make_world(document, Path(directory))
        for kill in kills:
            world.run(kill_after=kill)
        state, _ = world.run()
        assert world.fleet.faults == []
        assert world.fleet.most_down <= (document["policy"]["parallelism"] or 3)
        assert state.mode is not Mode.RUNNING
        assert state.mode is Mode.ENDED or state.reason  # it says what it waits for
        if state.outcome is Outcome.COMPLETED and not state.failures:
            assert {m.release.image_id for m in world.fleet.machines.values()} == {"new"}


@_MANY
@given(_WORLDS.filter(lambda world: not world["events"]), _KILLS)
def test_kills_change_nothing_about_the_end(document: dict[str, Any], kills: list[int]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as one, tempfile.TemporaryDirectory(dir=MEMORY) as other:
        if "crashes_after" in document["releases"]["new"] or "unhealthy_after" in document["releases"]["new"]:
            return  # a race with the monitor time, which a kill starts again
        undisturbed, killed = make_world(document, Path(one)), make_world(document, Path(other))
        wanted, _ = undisturbed.run()
        for kill in kills:
            state, _ = killed.run(kill_after=kill)
            if state.mode is Mode.HOLDING and wanted.mode is not Mode.HOLDING:
                killed.release()
        state, _ = killed.run()
        if state.mode is Mode.HOLDING:
            killed.release()
            state, _ = killed.run()
        assert (state.mode, state.outcome) == (wanted.mode, wanted.outcome)
        assert {n: m.release for n, m in killed.fleet.machines.items()} == {
            n: m.release for n, m in undisturbed.fleet.machines.items()
        }


def test_a_thousand_machines(tmp_path: Path) -> None:
    world = make_world({"machines": 1000, "policy": {"parallelism": 50}}, tmp_path)
    state, _ = world.run()
    assert state.outcome is Outcome.COMPLETED
    assert len(world.fleet.applied) == 1000
