"""Stages on a platform that saves no steps: whose files are handed on, what is kept, what runs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.bake.handing import outermost, taken_from
from stoneware.bake.plan import BakePlan
from stoneware.machinefile.recipe import CopyStep, ImageConfig, Mount, RunStep
from tests.bake.test_planner import Bench, actions

pytestmark = pytest.mark.pure
STAGES = """\
FROM debian:12 AS tools
RUN make-tools
FROM tools AS jars
RUN make-jars
FROM debian:12
COPY --from=jars /out/*.jar /in/
COPY --from=other /etc/x /etc/
RUN --mount=type=bind,from=tools,source=/opt,target=/opt use
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.store.saves_steps = False
    made.store.add_image("other", "another-key", ImageConfig())
    return made


def _builds(made: BakePlan) -> list[tuple[str, int, tuple[str, ...], bool]]:
    return [(stage.name, len(stage.to_run), stage.handed, stage.based) for stage in made.builds]


def _built(bench: Bench, made: BakePlan) -> None:
    for stage in made.builds:
        if stage.handed:
            bench.store.files.add((stage.end, stage.handed))
        if stage.based:
            bench.store.checkpoints.add(stage.final_key)


def test_what_steps_take() -> None:
    steps = [
        CopyStep(1, "s", 1, "", sources=("/a/b*/c", "/a/b/c", "x/../d"), from_stage="one"),
        CopyStep(2, "s", 1, "", sources=("file",)),
        RunStep(
            3, "s", 1, "", mounts=(Mount("bind", target="/m", from_stage="two"), Mount("cache", target="/c"))
        ),
        CopyStep(4, "s", 1, "", sources=("/odd\nname/file",), from_stage="three"),
    ]
    assert taken_from(steps) == {"one": ("/a", "/d"), "two": ("/",), "three": ("/",)}
    assert outermost(["/a.b", "/a/b", "/a", "/ab"]) == ("/a.b", "/a", "/ab")


def test_builders_hand_out_what_others_take(bench: Bench) -> None:
    made = bench.plan(STAGES)
    assert _builds(made) == [
        ("other", 0, ("/etc/x",), False),
        ("tools", 1, ("/opt",), True),
        ("jars", 1, ("/out",), False),
        ("2", 3, (), False),
    ]


def test_no_builder_is_started_for_what_is_kept(bench: Bench) -> None:
    _built(bench, bench.plan(STAGES))
    again = bench.plan(STAGES + "RUN more\n")
    assert actions(again) == "tools1:HIT jars1:HIT 21:RUN 22:RUN 23:RUN 24:RUN"
    assert [stage.name for stage in again.builds] == ["2"]
    assert [stage.steps[0].reason for stage in again.stages[:2]] == ["cached", "its files are kept"]


def test_a_changed_stage_begins_at_the_kept_one_below_it(bench: Bench) -> None:
    first = bench.plan(STAGES)
    _built(bench, first)
    changed = bench.plan(STAGES.replace("make-jars", "make-other-jars"))
    assert actions(changed) == "tools1:HIT jars1:RUN 21:RUN 22:RUN 23:RUN"
    jars = next(stage for stage in changed.builds if stage.name == "jars")
    assert jars.start == f"checkpoint:{first.stages[0].final_key}"


def test_other_files_of_a_kept_stage_take_a_builder_without_steps(bench: Bench) -> None:
    _built(bench, bench.plan(STAGES))
    other = bench.plan(STAGES.replace("source=/opt", "source=/srv"))
    tools = next(stage for stage in other.builds if stage.name == "tools")
    assert (tools.to_run, tools.handed, tools.start) == ((), ("/srv",), tools.end)


def test_without_the_cache_all_stages_run_but_images_hand_out_nothing_anew(bench: Bench) -> None:
    _built(bench, bench.plan(STAGES))
    assert [stage.name for stage in bench.plan(STAGES, no_cache=True).builds] == ["tools", "jars", "2"]
