"""Builders that fall silent, restart or take too long: the bake ends with the step's name, in time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from stoneware.bake.events import Note, StepFailed
from stoneware.bake.lost_files import left_in_memory
from stoneware.bake.silence import HEARD, Pulse
from stoneware.errors import BuildError
from tests.bake.conftest import Context
from tests.bake.scripted import NAME, ScriptedPlatform, Told, driver
from tests.platforms.memory import MemoryBuilder


def nothing(*_: object) -> None:
    pass


def ends(platform: ScriptedPlatform, told: Told, *, step_timeout: float | None = None) -> BuildError:
    with pytest.raises(BuildError) as caught:
        driver(platform, told, 1, step_timeout=step_timeout).run_steps(nothing)
    assert caught.value.location == "Machinefile:2"
    assert "RUN step 1" in caught.value.details
    return caught.value


def test_silence_ends_the_bake_within_15_seconds() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"), platform.say("last words", mark=""))
    for second in range(3, 40, 3):
        platform.at(second, platform.beat(second))
    error = ends(platform, told)
    assert error.brief == "the builder sends no reports during step 1 of stage '0'"
    assert "last words" in error.details
    assert 39 < platform.now < 39 + 15


def test_what_is_held_up_by_the_disk_is_no_silence() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"))
    platform.at(90, platform.say("1 exit 0"), platform.step_report("done", 1, boot="b"))
    stalls = []

    class SlowDisk(MemoryBuilder):
        def tell(self, changes: Mapping[str, str | None]) -> None:
            if HEARD in changes:  # is written as soon as what the builder sent is
                stalls.append(platform.now)
                platform.beat(len(stalls))()
            super().tell(changes)

    driver(platform, told, 1, builder=SlowDisk(platform, NAME)).run_steps(nothing)
    assert len(stalls) == 7, "one each 12 s"


def test_a_step_may_say_nothing_as_long_as_its_builder_beats() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"))
    for second in range(3, 3600, 3):
        platform.at(second, platform.beat(second))
    platform.at(3600, platform.say("1 exit 0"), platform.step_report("done", 1, boot="b"))
    assert driver(platform, told, 1, poll=0.5).run_steps(nothing)[1] > 3500


def test_a_builder_that_says_nothing_is_asked_less_often_until_it_does() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"))
    for second in range(3, 60, 3):
        platform.at(second, platform.beat(second))
    platform.at(50, platform.say("1| a word"))
    platform.at(60, platform.say("1 exit 0"), platform.step_report("done", 1, boot="b"))
    driver(platform, told, 1).run_steps(nothing)
    naps = [later - earlier for earlier, later in itertools.pairwise(platform.looks)]
    assert sum(naps) == pytest.approx(60, abs=0.1)
    assert max(naps) == pytest.approx(0.05)
    short = [when for when, nap in zip(platform.looks, naps, strict=False) if nap < 0.011]
    assert any(1 <= when < 1.5 for when in short)
    assert not any(5 < when < 50 for when in short), "its beats are no news"
    assert any(50 <= when < 50.5 for when in short), "what it says is"


def test_a_builder_that_starts_anew_is_told() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"))
    platform.at(5, platform.step_report("running", 1, boot="c"))
    assert ends(platform, told).brief == "the builder restarted during step 1 of stage '0'"


def test_a_step_that_takes_too_long_is_ended() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"))
    for second in range(3, 300, 3):
        platform.at(second, platform.beat(second))
    error = ends(platform, told, step_timeout=30.0)
    assert error.brief == "step 1 of stage '0' took longer than 30 s"
    assert 30 < platform.now < 33
    assert [event.exit_code for event in told.events if isinstance(event, StepFailed)] == [124]


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    now = 0.0
    pulse = Pulse(12.0, lambda: now)
    pulse.heard("a")
    now = 3600.0  # the computer slept, or a snapshot took its time
    pulse.heard("a")
    assert not pulse.silent()
    for step in range(1, 30):
        now = 3600.0 + step / 2
        pulse.heard("a")
    assert pulse.silent()
    pulse.heard("b")
    assert not pulse.silent()


FATAL = {
    "killed": "RUN kill -9 -1",
    "cut": "RUN ip link set host0 down; sleep 300",
    "libraries": "COPY --link broken /usr/lib/x86_64-linux-gnu/libc.so.6",
    "off": "RUN systemctl poweroff; sleep 300",
    "reboot": "RUN systemctl reboot; sleep 300",
    "agent": "RUN kill -9 $PPID; sleep 300",
}


@pytest.fixture(scope="module")
def fatal(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Bake all at once, as some are known to have ended by their silence alone; return code and stderr."""
    bakes = {}
    for kind, line in FATAL.items():
        context = Context(tmp_path_factory.mktemp(kind), machine_home, f"fatal-{kind}")
        context.write({"Machinefile": f"FROM debian:12\n{line}\n", "broken": "no library\n"})
        bakes[kind] = context.start("bake", "-t", context.name, ".")
    try:
        errors = {kind: bake.communicate(timeout=300)[1] for kind, bake in bakes.items()}
    finally:
        for bake in bakes.values():
            bake.kill()
            bake.communicate()
    return {kind: (bakes[kind].returncode, error) for kind, error in errors.items()}


@pytest.mark.machine
@pytest.mark.parametrize("kind", FATAL)
def test_a_step_that_ends_its_builder_ends_its_bake(
    fatal: dict[str, tuple[int, str]], machine_home: Path, kind: str
) -> None:
    code, err = fatal[kind]
    assert code == 1, err
    assert "step 1" in err, err
    assert "Machinefile:3" in err, "ENV in front makes it the third line"
    assert FATAL[kind][:20] in err
    assert not list((machine_home / "data/machines").glob("bake-*"))


@pytest.mark.machine
def test_a_step_has_the_time_that_it_was_given(context: Context) -> None:
    context.write({"Machinefile": "FROM debian:12\nRUN sleep 300\n"})
    _, err = context.run("bake", "-t", context.name, "--step-timeout", "1s", ".", code=1)
    assert "step 1" in err
    assert "took longer than 1 s" in err
    assert "--step-timeout" in err


def test_what_a_step_leaves_in_memory_is_told_with_its_line_and_kept_with_its_checkpoint() -> None:
    platform, told = ScriptedPlatform(), Told()
    platform.at(1, platform.step_report("running", 1, boot="b"))
    platform.at(2, platform.say("left 1 /run/x /run/y /run/z/", "left 7 /run/z", "1 exit 0"))
    platform.at(2, platform.step_report("done", 1, boot="b"))
    driver(platform, told, 1).run_steps(nothing)
    notes = [event for event in told.events if isinstance(event, Note)]
    assert [(note.text.partition(" in memory")[0], note.warning) for note in notes] == [
        ("Machinefile:2: leaves /run/x /run/y", True),
        ("Machinefile:2: leaves /run/z", False),
    ]
    assert platform.checkpoints["key1"]["left"] == "/run/x /run/y /run/z/"


def test_what_the_text_alone_has_told_is_not_told_again() -> None:
    told = ["M:2: /var/run/a/b is not part of the image", "M:3: /run/c is not part", "M:2: ", "the end"]
    assert left_in_memory("M:2", "/run/a /run/a/", told) == []
    assert left_in_memory("M:3", "/run/c", told) == []
    for where, paths in (("M:2", "/run/c"), ("M:3", "/run/cc"), ("M:4", "/run/a /run/c")):
        (note,) = left_in_memory(where, paths, told)
        assert f"{where}: leaves {paths} in memory" in note.text
