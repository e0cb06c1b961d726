"""Bakes whose builder or whose servers die, bakes at the same time, and steps that say too much."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines.record import read_process
from tests.bake.conftest import Context
from tests.bake.faults import HOLD, Baking, builder_process, eventually, helper, tidy

pytestmark = pytest.mark.machine
StartBake = Callable[..., Baking]


def waiting(context: Context, then: str = "cat /one >/two", hold: str = HOLD) -> None:
    context.write({"Machinefile": f"FROM debian:12\nRUN echo one >/one\nRUN {hold}; {then}\n"})


@pytest.mark.parametrize("victim", ["nspawn", "leader"])
def test_a_builder_that_is_killed_fails_the_bake_clearly(
    context: Context, start_bake: StartBake, victim: str
) -> None:
    waiting(context)
    baking = start_bake()
    baking.until_held()
    os.kill(builder_process(baking.builder(), victim), signal.SIGKILL)
    assert baking.end() == 1
    assert "the builder ended before its work was done during step" in baking.said
    assert "→ bake again" in baking.said
    assert tidy(context.home)
    assert [action for action, _ in context.actions()] == ["HIT", "RUN"]


def test_a_bake_outlives_its_builders_shim(context: Context, start_bake: StartBake) -> None:
    waiting(context)
    baking = start_bake()
    baking.until_held()
    shim = builder_process(baking.builder(), "shim")
    os.kill(shim, signal.SIGKILL)
    if cgroups.probe().systemd:  # the shim is the main process of a unit, which ends with it
        assert baking.end() == 1
        assert "the builder ended before its work was done during step 2" in baking.said
    else:
        assert eventually(lambda: read_process(baking.builder(), "shim") != shim)
        baking.release()
        assert (context.rootfs(baking.result()) / "two").read_text() == "one\n"
    assert tidy(context.home)


def test_a_bake_outlives_its_terraform_and_the_servers(context: Context, start_bake: StartBake) -> None:
    waiting(context, then="until getent hosts metadata.google.internal >/two; do sleep 0.1; done")
    baking = start_bake()
    baking.until_held()
    children = Path(f"/proc/{baking.process.pid}/task/{baking.process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 1
    os.kill(int(workers[0]), signal.SIGKILL)
    gone = kill_servers(context.home)
    with baking.uncaptured():
        for phase in ("seal", "capture"):
            baking.at("phase_started", name=phase)
            assert eventually(partial(started_again, context.home, gone))
            gone = kill_servers(context.home)
    result = baking.result()
    assert (context.rootfs(result) / "two").read_text().startswith("169.254.169.254")
    assert tidy(context.home)


def kill_servers(home: Path) -> dict[str, int]:
    """Kill the servers of a store and return who they were."""
    found = {name: helper(home, name) for name in ("metadata", "dnsmasq")}
    killed = {name: pid for name, pid in found.items() if pid is not None}
    assert killed.keys() == found.keys()
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    return killed


def started_again(home: Path, gone: dict[str, int]) -> bool:
    """Say whether others run in place of servers that were killed."""
    return all(helper(home, name) not in (None, pid) for name, pid in gone.items())


def _waits(event: dict[str, object]) -> bool:
    text = "another bake of the same image is under way: waiting for it"
    return event["event"] == "note" and text in str(event["text"])


def test_of_equal_bakes_one_builds_and_the_others_wait(context: Context, start_bake: StartBake) -> None:
    """The next builds when it is killed."""
    waiting(context)
    first = start_bake()
    first.until_held()
    second = start_bake()
    second.until(_waits)
    assert "waiting" not in first.said
    first.kill()
    second.until_held()
    third = start_bake()
    third.until(_waits)
    second.release()
    results = [baking.result() for baking in (second, third)]
    assert [(result["cached"], result["ran"]) for result in results] == [(1, 1), (2, 0)]
    assert results[0]["image_id"] == results[1]["image_id"]
    context.run("ps")
    assert tidy(context.home)


def test_bakes_with_steps_in_common_go_on_side_by_side_while_prune_runs(
    context: Context, start_bake: StartBake
) -> None:
    other = Context(context.path.parent / "other", context.home, f"{context.name[:50]}-other", context.stamp)
    for place, word in ((context, "a"), (other, "b")):
        common = f"FROM debian:12\nENV TEST={context.stamp}\nRUN {HOLD}; echo common >/one\n"
        place.path.mkdir(exist_ok=True)
        (place.path / "Machinefile").write_text(f"{common}RUN {HOLD}; echo {word} >/two\n")
    bakes = [start_bake(), start_bake(of=other)]
    for number in (1, 2):
        for baking in bakes:
            baking.until_held(number)
        context.run("prune", "-f")
        bakes[0].release()
    for baking, place, word in zip(bakes, (context, other), "ab", strict=True):
        root = place.rootfs(baking.result())
        assert (root / "one").read_text() + (root / "two").read_text() == f"common\n{word}\n"
    assert tidy(context.home)
    assert context.bake()["ran"] == 0, "prune keeps what tagged images are made of"


LOUD = """\
FROM debian:12
RUN head -c 1000000 /dev/zero | tr '\\0' x
RUN seq 50000
RUN head -c 200000 /dev/urandom; printf '\\033[2J\\033]0;title\\007\\000\\377\\n'; echo after
RUN sleep 1000 & setsid sleep 1000 & (trap '' TERM HUP; exec setsid sleep 1000) >/dev/null 2>&1 & echo left
"""


def test_loud_steps_and_those_that_leave_daemons_do_not_hold_a_bake(
    context: Context, start_bake: StartBake
) -> None:
    context.write({"Machinefile": LOUD})
    baking = start_bake()
    texts: dict[int, list[str]] = {}

    def take(event: dict[str, object]) -> bool:
        if event["event"] == "step_output":
            texts.setdefault(int(str(event["index"])), []).append(str(event["text"]))
        return event["event"] == "phase_finished" and event["name"] == "capture"

    baking.until(take)
    baking.result()
    assert "".join(texts[1]) == "x" * 1000000
    assert texts[2] == [str(number) for number in range(1, 50001)]
    assert texts[3][-1] == "after"
    assert texts[4] == ["left"]
    assert tidy(context.home)


def test_a_user_who_removes_the_builder_is_told(context: Context, start_bake: StartBake) -> None:
    waiting(context)
    baking = start_bake()
    baking.until_held()
    context.run("rm", "-f", baking.builder().name)
    assert baking.end() == 1
    assert "the builder was removed before its work was done" in baking.said
    assert eventually(lambda: tidy(context.home))
