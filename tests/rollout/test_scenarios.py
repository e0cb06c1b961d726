"""The engine over simulated clusters: every scenario, and every scenario again with the driver killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stoneware.rollout.state import Mode, RolloutState
from tests.rollout.scenario import check, make_world, scenarios

pytestmark = pytest.mark.pure
CASES = dict(scenarios())


@pytest.mark.parametrize("name", CASES)
def test_a_scenario_comes_to_its_end(name: str, in_memory: Path) -> None:
    world = make_world(CASES[name], in_memory)
    state, observer = world.run()
    check(world, state, observer)


def _resumable(document: Mapping[str, Any]) -> bool:
    """Say whether what happens in a scenario does not hang on the time that a kill would shift."""
    return not document.get("events")


@pytest.mark.parametrize("name", [name for name in CASES if _resumable(CASES[name])])
def test_a_kill_at_any_line_of_the_journal_changes_nothing(name: str, in_memory: Path) -> None:
    whole = make_world(CASES[name], in_memory)
    wanted, observer = whole.run()
    for line in range(1, len(observer.events) + 1):
        directory = in_memory / str(line)
        directory.mkdir()
        world = make_world(CASES[name], directory)
        state, _ = world.run(kill_after=line)
        if state.mode is Mode.HOLDING and wanted.mode is not Mode.HOLDING:
            world.release()  # the kill came between the question and the answer
        state, _ = world.run()
        assert _essence(state) == _essence(wanted), f"killed after line {line}"
        assert _machines(world) == _machines(whole), f"killed after line {line}"
        assert world.fleet.faults == []


def _essence(state: RolloutState) -> tuple[object, ...]:
    stages = {name: (item.stage, item.direction) for name, item in state.machines.items()}
    return state.mode, state.outcome, stages, sorted(state.failures)


def _machines(world: Any) -> dict[str, tuple[str, bool]]:
    return {
        name: (machine.release.image_id, machine.stopped is None)
        for name, machine in world.fleet.machines.items()
    }
