"""Bakes that are killed or interrupted at any point: what is left, who removes it, how the next goes on."""

from __future__ import annotations

import contextlib
import json
import random
import signal
from collections.abc import Callable, Iterator

import pytest

from stoneware.files import locked
from tests.bake.conftest import Context
from tests.bake.faults import HOLD, Baking, tidy

pytestmark = pytest.mark.machine
StartBake = Callable[..., Baking]

STEPS = ["echo one >/one", "cat /one >/two", "cat /two >/three"]


def write(context: Context, count: int = 2) -> None:
    """Write a Machinefile of so many steps, each of which holds."""
    steps = "".join(f"RUN {HOLD}; {step}\n" for step in STEPS[:count])
    context.write({"Machinefile": f"FROM debian:12\n{steps}"})


@pytest.fixture
def two(context: Context) -> Context:
    write(context)
    return context


# These bring a bake to a point beyond which it does not come by itself, however late the test hits it.


@contextlib.contextmanager
def before_the_builder(baking: Baking) -> Iterator[None]:
    baking.until(lambda event: event["event"] == "phase_started" and event["name"].startswith("builder"))
    yield


@contextlib.contextmanager
def in_a_step(baking: Baking) -> Iterator[None]:
    baking.until_held()
    yield


@contextlib.contextmanager
def after_a_checkpoint(baking: Baking) -> Iterator[None]:
    baking.through(1)
    baking.at("step_finished", index=1)
    yield


@contextlib.contextmanager
def in_the_seal(baking: Baking, phase: str = "seal") -> Iterator[None]:
    """Hold the last step first: what is before it is done."""
    baking.until_held()
    with baking.uncaptured():
        baking.at("phase_started", name=phase)
        yield


def in_the_capture(baking: Baking) -> contextlib.AbstractContextManager[None]:
    return in_the_seal(baking, "capture")


Point = Callable[[Baking], contextlib.AbstractContextManager[None]]
# Each goes on from what the one before it has left: the point, how many steps the Machinefile has from there
# on, and how many of them the next bake finds done.
KILLS: list[tuple[Point, int, int]] = [
    (before_the_builder, 2, 0),
    (after_a_checkpoint, 2, 1),
    (in_a_step, 2, 1),
    (in_the_seal, 2, 2),
    (in_the_capture, 3, 3),
]


def test_after_a_kill_the_next_command_cleans_and_the_next_bake_resumes(
    context: Context, start_bake: StartBake
) -> None:
    for reached, steps, done in KILLS:
        write(context, steps)
        baking = start_bake()
        with reached(baking):
            baking.kill()
        said = destroyed_by_terraform(context) if reached is in_a_step else context.run("ps", "-a")[1]
        assert "removed what the interrupted bake bake-" in said, reached
        assert tidy(context.home)
        assert context.run("ps", "-a")[1] == "", "it is said once"
        assert [action for action, _ in context.actions()].count("HIT") == done, reached
    left = killed_before_its_tags(context, start_bake())
    result = start_bake().result()
    assert (result["cached"], result["ran"]) == (3, 0)
    assert result["image_id"] in left
    assert (context.rootfs(result) / "three").read_text() == "one\n"
    assert tidy(context.home)


def destroyed_by_terraform(context: Context) -> str:
    """Have the next command remove a builder that was killed with its bake, and return what it said."""
    [state] = (context.home / "data/builds").glob("*/stage-0/terraform/terraform.tfstate")
    assert [r["type"] for r in json.loads(state.read_text())["resources"]] == ["stoneware_machine"]
    [builder] = (context.home / "data/machines").glob("bake-*")
    log = context.path / "terraform.log"
    _, said = context.run("ps", env={"TF_LOG": "info", "TF_LOG_PATH": str(log)})
    assert f"interrupted bake {builder.name.rpartition('-')[0]} had left: its builder is destroyed" in said
    assert "destroy" in log.read_text()
    return said


def killed_before_its_tags(context: Context, baking: Baking) -> set[str]:
    """Kill a bake that has its image, and return those that are there."""
    with locked(context.home / "locks" / "tags" / f"{context.name}.lock"):
        baking.at("phase_finished", name="capture")
        baking.until(lambda event: event["event"] == "note")  # no commit: said right before the tags are set
        baking.kill()
    return {image["id"] for image in json.loads(context.run("images", "--json")[0])}


def test_kills_at_random_times(context: Context, start_bake: StartBake) -> None:
    """The seed names how many events come first; what was done is kept, so that the bakes come to an end."""
    steps = "".join(f"RUN echo {number} >>/all\n" for number in range(6))
    context.write({"Machinefile": f"FROM debian:12\n{steps}"})
    times = random.Random(20)  # noqa: S311
    done = 0
    for command in (("images",), ("bake", "--plan", "."), None, ("volume", "ls")):
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
    assert (context.rootfs(result) / "all").read_text().split() == [str(number) for number in range(6)]
    assert tidy(context.home)


@pytest.mark.parametrize(
    ("reached", "number"),
    [(before_the_builder, signal.SIGINT), (in_a_step, signal.SIGTERM), (in_the_seal, signal.SIGHUP)],
)
def test_an_interrupted_bake_cleans_up_itself(
    context: Context, start_bake: StartBake, reached: Point, number: signal.Signals
) -> None:
    """Each signal is the same exception in the program, wherever it comes."""
    write(context, 1)
    baking = start_bake()
    with reached(baking):
        baking.signal(number)
    assert baking.end() == 130
    assert "interrupted: removing the builder" in baking.said
    assert "error" not in baking.said
    assert tidy(context.home)


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
    assert [action for action, _ in two.actions()] == ["HIT", "RUN"]
