"""Bakes that are killed or interrupted at any point: what is left, who removes it, how the next goes on."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.files import locked
from tests.bake.conftest import Context
from tests.bake.faults import Baking, tidy

pytestmark = pytest.mark.machine
StartBake = Callable[..., Baking]

STEPS = """\
FROM debian:12
RUN echo one >/one
RUN echo running && sleep 0.7 && cat /one >/two
"""


@pytest.fixture
def two(context: Context) -> Context:
    context.write({"Machinefile": STEPS})
    return context


def check(context: Context, result: dict[str, object], cached: int) -> None:
    assert result["cached"] == cached
    assert (context.rootfs(result) / "two").read_text() == "one\n"
    assert tidy(context.home)


def builder_begins(baking: Baking) -> None:
    baking.until(lambda event: event["event"] == "phase_started" and event["name"].startswith("builder"))


# The point, how to wait for it, how many of the two steps the next bake finds done.
POINTS: dict[str, tuple[Callable[[Baking], object], int]] = {
    "before the builder": (builder_begins, 0),
    "in a step": (lambda baking: baking.at("step_output", text="running"), 1),
    "after a checkpoint": (lambda baking: baking.at("step_finished", index=1), 1),
    "in the seal": (lambda baking: baking.at("phase_started", name="seal"), 2),
    "in the capture": (lambda baking: baking.at("phase_started", name="capture"), 2),
}


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_next_command_cleans_and_the_next_bake_resumes(
    two: Context, start_bake: StartBake, point: str
) -> None:
    wait, cached = POINTS[point]
    baking = start_bake()
    wait(baking)
    baking.kill()
    _, said = two.run("ps", "-a")
    assert "removed what the interrupted bake bake-" in said
    assert tidy(two.home)
    assert two.run("ps", "-a")[1] == "", "it is said once"
    check(two, two.bake(), cached)


def test_the_builder_of_a_killed_bake_is_destroyed_by_terraform(two: Context, start_bake: StartBake) -> None:
    baking = start_bake()
    baking.at("step_output", text="running")
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
        baking = start_bake()
        baking.at("phase_finished", name="capture")
        baking.until(lambda event: event["event"] == "note")  # no commit: said right before the tags are set
        baking.kill()
    images = json.loads(two.run("images", "--json")[0])
    result = two.bake()
    assert (result["cached"], result["ran"]) == (2, 0)
    assert result["image_id"] in {image["id"] for image in images}
    check(two, result, 2)


def test_kills_at_random_times(context: Context, start_bake: StartBake) -> None:
    """The seed names the times; what was done before is kept, so that the bakes come to an end."""
    steps = "".join(f"RUN sleep 0.1; echo {number} >>/all\n" for number in range(8))
    context.write({"Machinefile": f"FROM debian:12\n{steps}"})
    times = random.Random(20)  # noqa: S311
    done = 0
    for command in (("ps",), ("images",), ("bake", "--plan", "."), None, ("volume", "ls"), None):
        baking = start_bake()
        time.sleep(times.uniform(0.2, 3.0))
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
    wait, _ = POINTS[point]
    baking = start_bake()
    wait(baking)
    baking.signal(number)
    assert baking.end() == 130
    assert "interrupted: removing the builder" in baking.said
    assert "error" not in baking.said
    assert tidy(two.home)


@pytest.mark.parametrize("pause", [0.02, 0.3])
def test_a_second_interrupt_corrupts_nothing(two: Context, start_bake: StartBake, pause: float) -> None:
    baking = start_bake()
    baking.at("step_output", text="running")
    baking.signal(signal.SIGINT)
    time.sleep(pause)
    baking.signal(signal.SIGINT)
    assert baking.end() == 130
    two.run("ps")
    assert tidy(two.home)
    check(two, two.bake(), 1)


def test_a_failed_bake_leaves_no_directory(context: Context, start_bake: StartBake) -> None:
    context.write({"Machinefile": "FROM debian:12\nRUN exit 3\n"})
    baking = start_bake()
    assert baking.end() == 1
    assert tidy(context.home)
    assert not list(Path(context.home, "data/builds").iterdir())
