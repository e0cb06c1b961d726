"""Agents that wait for no go behind a step: the driver sees less of their reports than they send."""

from __future__ import annotations

import pytest

from stoneware.bake.driver import Driver
from stoneware.bake.events import StepFailed, StepFinished, StepOutput
from stoneware.bake.pace import pace_of
from stoneware.errors import BuildError
from tests.bake.scripted import NAME, TOKEN, ScriptedPlatform, Told, planned
from tests.platforms.memory import MemoryBuilder


def nothing(*_: object) -> None:
    pass


def running_on(platform: ScriptedPlatform, told: Told, steps: int) -> Driver:
    return Driver(
        MemoryBuilder(platform, NAME),
        told,
        token=TOKEN,
        stage="0",
        steps={index: planned(index) for index in range(1, steps + 1)},
        last=steps,
        checkpoints=False,
        pace=platform.pace(120.0),
    )


@pytest.mark.parametrize("state", ["running", "done", "sealing", "sealed"])
def test_steps_whose_reports_were_missed_are_done(state: str) -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.say("1 start a", "1| one", "1 exit 0", "2 start b", "2| two", "2 exit 0"))
    platform.at(1, platform.step_report(state, 3, boot="b"))
    platform.at(2, platform.say("3 start c", "3 exit 0"), platform.step_report("sealed", 3, boot="b"))
    taken = running_on(platform, told, 3).run_steps(nothing)
    assert sorted(taken) == [1, 2, 3]
    said = [(event.index, *event.texts) for event in told.events if isinstance(event, StepOutput)]
    assert said == [(1, "one"), (2, "two")]
    assert told.names().count(StepFinished.__name__) == 3


def test_the_step_that_failed_is_named_though_others_were_missed() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.say("1 exit 0", "2| it breaks", "2 exit 7"))
    platform.at(1, platform.step_report("failed", 2, exit=7, boot="b"))
    with pytest.raises(BuildError) as caught:
        running_on(platform, told, 3).run_steps(nothing)
    assert caught.value.location == "Machinefile:3"
    assert "it breaks" in caught.value.details
    assert [event.index for event in told.events if isinstance(event, StepFailed)] == [2]


def test_a_seal_that_failed_is_no_failure_of_the_last_step() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.say("1 exit 0"))
    platform.at(1, platform.step_report("failed", 1, exit=1, message="the seal failed: why", boot="b"))
    driver = running_on(platform, told, 1)
    driver.run_steps(nothing)
    with pytest.raises(BuildError, match="the seal failed: why"):
        driver.seal()


def test_an_agent_that_cannot_begin_says_why() -> None:
    platform, told = ScriptedPlatform(), Told()
    message = "the bundle cannot be fetched"
    platform.at(1, platform.step_report("failed", 0, exit=1, message=message, boot="b"))
    with pytest.raises(BuildError, match=f"the builder cannot begin: {message}"):
        running_on(platform, told, 1).run_steps(nothing)
    assert platform.now < 5


def test_patience_follows_the_builders_beat() -> None:
    builder = MemoryBuilder(ScriptedPlatform(), NAME)
    assert (pace_of(builder).silence, pace_of(builder).boot_limit) == (12.0, 120.0)
    builder.beat = 10.0
    assert (pace_of(builder).silence, pace_of(builder).boot_limit) == (60.0, 600.0)
