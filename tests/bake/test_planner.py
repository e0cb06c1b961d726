"""Plans over a store that holds no files: what is taken from the cache, what runs, and the words for why."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.bake.api import plan
from stoneware.bake.options import BakeOptions
from stoneware.bake.plan import BakePlan
from stoneware.bake.planner import Planner
from stoneware.errors import InputError
from stoneware.machinefile.recipe import ImageConfig
from tests.bake.bake_store import BakeStore

TWO = "FROM debian:12\nRUN one\nCOPY file /\nRUN three\n"
STAGES = """\
FROM debian:12 AS tools
RUN make-tools
FROM tools AS jars
RUN make-jars
FROM debian:12 AS unused
RUN nothing
FROM debian:12
RUN prepare
COPY --from=jars /out /in
RUN finish
"""


class Bench:
    """A context and a store; `built` pretends that a bake of the plan succeeded."""

    def __init__(self, root: Path) -> None:
        self.context = root / "context"
        self.context.mkdir()
        self.store = BakeStore(root)

    def plan(self, text: str, **options: object) -> BakePlan:
        (self.context / "Machinefile").write_text(text)
        wanted = BakeOptions(self.context, tags=("app",), **options)  # type: ignore[arg-type]
        return plan(wanted, self.store)

    def built(self, made: BakePlan) -> None:
        steps = [step for stage in made.stages for step in stage.steps]
        self.store.checkpoints |= {step.key for step in steps}
        self.store.add_image("app", made.image.key, made.target.stage.config)
        planner = Planner(BakeOptions(self.context, tags=("app",)), self.store, "app")
        planner.record.save(made.stages, self.store.checkpoints)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    (made.context / "file").write_text("1")
    return made


def told(made: BakePlan) -> list[tuple[str, int, str, str]]:
    return [
        (stage.name, step.step.index, step.action, step.reason)
        for stage in made.stages
        for step in stage.steps
    ]


def actions(made: BakePlan) -> str:
    return " ".join(f"{stage}{index}:{action}" for stage, index, action, _ in told(made))


def test_nothing_is_there_at_first(bench: Bench) -> None:
    made = bench.plan(TWO)
    assert told(made) == [("0", n, "RUN", "not built yet") for n in (1, 2, 3)]
    assert (made.image.action, made.image.reason) == ("RUN", "steps have to run")
    assert made.target.start == "checkpoint:base-1"


def test_the_base_has_still_to_be_made(bench: Bench) -> None:
    bench.store.identity = None
    assert told(bench.plan(TWO))[0][3] == "the base debian:12 is not built yet"
    staged = "FROM debian:12 AS base\nENV A=1\nFROM base\nRUN true\n"
    assert told(bench.plan(staged)) == [("1", 1, "RUN", "the base of base is not built yet")]


def test_all_is_there(bench: Bench) -> None:
    bench.built(bench.plan(TWO))
    made = bench.plan(TWO)
    assert actions(made) == "01:HIT 02:HIT 03:HIT"
    assert made.image.action == "HIT"
    assert made.builds == ()


def test_a_changed_file_reruns_from_there(bench: Bench) -> None:
    bench.built(bench.plan(TWO))
    (bench.context / "file").write_text("2")
    made = bench.plan(TWO)
    assert told(made) == [
        ("0", 1, "HIT", "cached"),
        ("0", 2, "RUN", "file file changed"),
        ("0", 3, "RUN", "the step before it changed"),
    ]
    assert made.target.start == f"checkpoint:{made.target.steps[0].key}"


def test_a_new_base_is_the_reason_of_the_first_step(bench: Bench) -> None:
    bench.built(bench.plan(TWO))
    bench.store.identity = "base-2"
    assert [reason for *_, reason in told(bench.plan(TWO))][:2] == [
        "debian:12, which the stage is built FROM, changed",
        "the step before it changed",
    ]


def test_earlier_checkpoints_may_be_gone(bench: Bench) -> None:
    first = bench.plan(TWO)
    bench.built(first)
    bench.store.checkpoints = {first.target.steps[1].key}
    bench.store.manifests.clear()
    made = bench.plan(TWO)
    assert told(made)[:2] == [("0", 1, "HIT", "cached"), ("0", 2, "HIT", "cached")]
    assert told(made)[2] == ("0", 3, "RUN", "its checkpoint is gone")


def test_no_cache_runs_all(bench: Bench) -> None:
    bench.built(bench.plan(TWO))
    made = bench.plan(TWO, no_cache=True)
    assert {(action, reason) for *_, action, reason in told(made)} == {("RUN", "--no-cache")}
    assert made.image.action == "RUN"


def test_other_settings_of_the_image_seal_anew(bench: Bench) -> None:
    bench.built(bench.plan(TWO))
    made = bench.plan(TWO + 'CMD ["x"]\nEXPOSE 80\n')
    assert actions(made) == "01:HIT 02:HIT 03:HIT"
    assert (made.image.action, made.image.reason) == ("RUN", "cmd, ports changed")
    assert [stage.name for stage in made.builds] == ["0"]
    assert made.target.start == f"checkpoint:{made.target.steps[-1].key}"


def test_stages_nobody_needs_are_not_there(bench: Bench) -> None:
    made = bench.plan(STAGES)
    assert [stage.name for stage in made.stages] == ["tools", "jars", "3"]
    assert [stage.name for stage in made.builds] == ["tools", "jars", "3"]
    assert made.stages[1].start == f"checkpoint:{made.stages[0].steps[0].key}"


def test_a_stage_is_only_built_for_a_step_that_runs(bench: Bench) -> None:
    first = bench.plan(STAGES)
    bench.built(first)
    bench.store.checkpoints -= {step.key for stage in first.stages[:2] for step in stage.steps}
    made = bench.plan(STAGES.replace("RUN finish", "RUN finish better"))
    assert [stage.name for stage in made.builds] == ["3"], "the copy from jars is in a checkpoint"
    assert told(made)[0] == ("tools", 1, "HIT", "not needed: later checkpoints contain its result")
    again = bench.plan(STAGES.replace("RUN prepare", "RUN prepare better"))
    assert [stage.name for stage in again.builds] == ["tools", "jars", "3"], "now it has to be copied again"


def test_a_changed_stage_is_told_by_name(bench: Bench) -> None:
    bench.built(bench.plan(STAGES))
    made = bench.plan(STAGES.replace("RUN make-jars", "RUN make-other-jars"))
    assert told(made)[1][2:] == ("RUN", "instruction changed")
    assert told(made)[2][2:] == ("HIT", "cached")
    assert told(made)[3][2:] == ("RUN", "stage jars changed")


def test_an_image_is_a_base_and_its_settings_are_inherited(bench: Bench) -> None:
    parent = bench.store.add_image("parent", "k", ImageConfig(env=(("A", "1"),), user="app"))
    made = bench.plan("FROM parent\nRUN echo $A\n")
    assert made.target.start == f"image:{parent}"
    assert dict(made.target.stage.config.env)["A"] == "1"
    assert made.target.stage.config.user == "app"


def test_the_name_is_part_of_the_image_and_the_labels_too(bench: Bench) -> None:
    made = bench.plan(TWO)
    assert bench.plan(TWO, labels={"a": "b"}).image.key != made.image.key
    (bench.context / "Machinefile").write_text(TWO)
    other = plan(BakeOptions(bench.context, tags=("other",)), bench.store)
    assert other.image.key != made.image.key
    assert other.target.final_key == made.target.final_key


def test_the_document_holds_what_scripts_rely_on(bench: Bench) -> None:
    document = bench.plan(TWO).to_document()
    assert set(document["steps"][0]) == {
        "index", "stage", "line", "instruction", "key", "action", "reason",
    }  # fmt: skip
    assert [step["line"] for step in document["steps"]] == [2, 3, 4]


def test_a_torn_record_only_costs_the_words(bench: Bench) -> None:
    bench.built(bench.plan(TWO))
    (record,) = bench.store.records().glob("bake-*.json")
    record.write_text('{"0/1": {')
    (bench.context / "file").write_text("2")
    assert told(bench.plan(TWO))[1][2:] == ("RUN", "not built yet")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": "none"}, "is not a directory"),
        ({"file": "none"}, "there is no file 'none'"),
        ({"target": "none"}, "none"),
        ({"tags": ("Bad Name",)}, "invalid image name"),
    ],
)
def test_bad_options_are_refused(bench: Bench, options: dict[str, object], words: str) -> None:
    (bench.context / "Machinefile").write_text(TWO)
    given: dict[str, object] = {"context": bench.context, "tags": ("app",), **options}
    given["context"] = bench.context.parent / str(given["context"])
    given["file"] = Path(str(given["file"])) if "file" in given else None
    with pytest.raises(InputError, match=words):
        plan(BakeOptions(**given), bench.store)  # type: ignore[arg-type]
