"""Bakes that are killed or interrupted at any point: what is left, who removes it, how the next goes on."""

from __future__ import annotations

import contextlib
import json
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.files import locked
from tests.bake.conftest import Context
from tests.bake.faults import HOLD, Baking, tidy

pytestmark = pytest.mark.machine
StartBake = Callable[..., Baking]

STEPS = f"""\
FROM debian:12
RUN {HOLD}; echo one >/one
RUN {HOLD}; cat /one >/two
"""


@pytest.fixture
def two(context: Context) -> Context:
    context.write({"Machinefile": STEPS})
    return context


def check(context: Context, again: Baking, cached: int) -> dict[str, Any]:
    result = again.result()
    assert result["cached"] == cached
    assert (context.rootfs(result) / "two").read_text() == "one\n"
    assert tidy(context.home)
    return result


# These bring a bake to a point beyond which it does not come by itself, however late the test hits it.


@contextlib.contextmanager
def before_the_builder(baking: Baking) -> Iterator[None]:
    baking.until(lambda event: event["event"] == "phase_started" and event["name"].startswith("builder"))
    yield


@contextlib.contextmanager
def in_a_step(baking: Baking) -> Iterator[None]:
    baking.through(1)
    baking.until_held(2)
    yield


@contextlib.contextmanager
def after_a_checkpoint(baking: Baking) -> Iterator[None]:
    baking.through(1)
    baking.at("step_finished", index=1)
    yield


@contextlib.contextmanager
def in_the_seal(baking: Baking, phase: str = "seal") -> Iterator[None]:
    baking.through(1)
    baking.until_held(2)
    with baking.uncaptured():
        baking.at("phase_started", name=phase)
        yield


def in_the_capture(baking: Baking) -> contextlib.AbstractContextManager[None]:
    return in_the_seal(baking, "capture")


Point = Callable[[Baking], contextlib.AbstractContextManager[None]]
# The point, and how many of the two steps the next bake finds done.
POINTS: dict[str, tuple[Point, int]] = {
    "before the builder": (before_the_builder, 0),
    "in a step": (in_a_step, 1),
    "after a checkpoint": (after_a_checkpoint, 1),
    "in the seal": (in_the_seal, 2),
    "in the capture": (in_the_capture, 2),
}


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_next_command_cleans_and_the_next_bake_resumes(
    two: Context, start_bake: StartBake, point: str
) -> None:
    reached, cached = POINTS[point]
    baking = start_bake()
    with reached(baking):
        baking.kill()
    _, said = two.run("ps", "-a")
    assert "removed what the interrupted bake bake-" in said
    assert tidy(two.home)
    assert two.run("ps", "-a")[1] == "", "it is said once"
    check(two, start_bake(holds=False), cached)


def test_the_builder_of_a_killed_bake_is_destroyed_by_terraform(two: Context, start_bake: StartBake) -> None:
    baking = start_bake()
    baking.until_held()
    baking.kill()
    builder = baking.builder()
    states = list((two.home / "data/builds").glob("*/stage-0/terraform/terraform.tfstate"))
    assert [r["type"] for r in json.loads(states[0].read_text())["resources"]] == ["stoneware_machine"]
    log = two.path / "terraform.log"
    _, said = two.run("ps", env={"TF_LOG": "info", "TF_LOG_PATH": str(log)})
    assert f"interrupted bake {builder.name.rpartition('-')[0]} had left: its builder is destroyed" in said
    assert "destroy" in log.read_text()
    assert tidy(two.home)


def test_a_kill_between_capture_and_tag_leaves_an_image_for_the_next_bake(
    two: Context, start_bake: StartBake
) -> None:
    with locked(two.home / "locks" / "tags" / f"{two.name}.lock"):
        baking = start_bake(holds=False)
        baking.at("phase_finished", name="capture")
        baking.until(lambda event: event["event"] == "note")  # no commit: said right before the tags are set
        baking.kill()
    images = json.loads(two.run("images", "--json")[0])
    result = check(two, start_bake(), 2)
    assert result["ran"] == 0
    assert result["image_id"] in {image["id"] for image in images}


def test_kills_at_random_times(context: Context, start_bake: StartBake) -> None:
    """The seed names how many events come first; what was done is kept, so that the bakes come to an end."""
    steps = "".join(f"RUN echo {number} >>/all\n" for number in range(8))
    context.write({"Machinefile": f"FROM debian:12\n{steps}"})
    times = random.Random(20)  # noqa: S311
    done = 0
    for command in (("ps",), ("images",), ("bake", "--plan", "."), None, ("volume", "ls"), None):
        baking = start_bake()
        for _ in range(times.randrange(1, 9)):
            baking.until(lambda event: event["event"] != "note")
        baking.signal()
        baking.end()
        if command:
            context.run(*command)
        now = sum(action == "HIT" for action, _ in context.actions())
        assert now >= done
        done = now
    result = context.bake()
    assert (context.rootfs(result) / "all").read_text().split() == [str(number) for number in range(8)]
    assert tidy(context.home)


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("before the builder", signal.SIGINT),
        ("in a step", signal.SIGINT),
        ("in the seal", signal.SIGINT),
        ("in a step", signal.SIGTERM),
        ("in a step", signal.SIGHUP),
    ],
)
def test_an_interrupted_bake_cleans_up_itself(
    two: Context, start_bake: StartBake, point: str, number: signal.Signals
) -> None:
    reached, _ = POINTS[point]
    baking = start_bake()
    with reached(baking):
        baking.signal(number)
    assert baking.end() == 130
    assert "interrupted: removing the builder" in baking.said
    assert "error" not in baking.said
    assert tidy(two.home)


@pytest.mark.parametrize("when", ["at once", "while it removes"])
def test_a_second_interrupt_corrupts_nothing(two: Context, start_bake: StartBake, when: str) -> None:
    baking = start_bake()
    baking.through(1)
    baking.until_held(2)
    baking.signal(signal.SIGINT)
    if when != "at once":
        baking.until(lambda event: event["event"] == "note" and "interrupted" in event["text"])
    baking.signal(signal.SIGINT)
    assert baking.end() == 130
    two.run("ps")
    assert tidy(two.home)
    check(two, start_bake(holds=False), 1)


def test_a_failed_bake_leaves_no_directory(context: Context, start_bake: StartBake) -> None:
    context.write({"Machinefile": "FROM debian:12\nRUN exit 3\n"})
    baking = start_bake()
    assert baking.end() == 1
    assert tidy(context.home)
    assert not list(Path(context.home, "data/builds").iterdir())
