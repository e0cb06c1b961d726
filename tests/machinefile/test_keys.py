"""Step keys: what changes them, what does not, and how a change is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stoneware.machinefile.context import context_tree, resolve_sources
from stoneware.machinefile.keys import StepInputs, describe_inputs, explain, step_key
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import CopyStep, Heredoc, Mount, RunStep, Step, WorkdirStep
from tests.machinefile.support import resolve

AMD = StepInputs("amd64")
RUN = RunStep(1, "0", 2, "RUN x", argv=("/bin/sh", "-c", "x"), env=(("A", "1"), ("B", "2")), arg_names=("A",))
COPY = CopyStep(1, "0", 2, "COPY a /x", sources=("a",), destination="/x")
MOUNT = Mount("cache", "/c", id="c")


def steps(text: str, **args: str) -> tuple[Step, ...]:
    return load_recipe(text, build_args=args, resolve_base=resolve, architecture="amd64").target.steps


def keys(text: str, **args: str) -> list[str]:
    found: list[str] = []
    for step in steps(text, **args):
        found.append(step_key(found[-1] if found else "base", step, AMD))
    return found


def test_a_key_is_stable() -> None:
    # another value rebuilds everything everybody has: then raise STEP_CODE_VERSION, on purpose
    step = WorkdirStep(1, "0", 1, "WORKDIR /a", path="/a")
    assert step_key("p", step, AMD) == "df8860a5c9be48d862c95e20d6593dcb51b83cb229586dd8dc21bc52cd5c2e7f"


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(RUN, argv=("/bin/sh", "-c", "y")),
        dataclasses.replace(RUN, argv=("/bin/sh", "-cx")),
        dataclasses.replace(RUN, env=(("A", "1"), ("B", "3"))),
        dataclasses.replace(RUN, env=(("A", "1"),)),
        dataclasses.replace(RUN, env=(("A", "1B"), ("", "2"))),
        dataclasses.replace(RUN, user="app"),
        dataclasses.replace(RUN, workdir="/app"),
        dataclasses.replace(RUN, network="none"),
        dataclasses.replace(RUN, mounts=(MOUNT,)),
    ],
)
def test_what_changes_the_key_of_a_run(other: RunStep) -> None:
    assert step_key("p", RUN, AMD) != step_key("p", other, AMD)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(RUN, index=5, stage="x", line=9, text="RUN  x"),
        dataclasses.replace(RUN, unkeyed_env=(("HTTP_PROXY", "p"),)),
        dataclasses.replace(RUN, env=(("B", "2"), ("A", "1"))),
        dataclasses.replace(RUN, arg_names=()),
    ],
)
def test_what_does_not_change_the_key_of_a_run(other: RunStep) -> None:
    assert step_key("p", RUN, AMD) == step_key("p", other, AMD)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(COPY, add=True),
        dataclasses.replace(COPY, destination="/x/"),
        dataclasses.replace(COPY, chown="app"),
        dataclasses.replace(COPY, chmod="0755"),
        dataclasses.replace(COPY, chown="", chmod="", excludes=("b",)),
        dataclasses.replace(COPY, heredocs=(Heredoc("a", "b", expand=True),)),
        dataclasses.replace(COPY, from_stage="build"),
        dataclasses.replace(COPY, checksum="sha256:0"),
        dataclasses.replace(COPY, unpack=False),
    ],
)
def test_what_changes_the_key_of_a_copy(other: CopyStep) -> None:
    assert step_key("p", COPY, AMD) != step_key("p", other, AMD)


def test_inputs_change_the_key() -> None:
    found = {
        step_key("p", COPY, AMD),
        step_key("q", COPY, AMD),
        step_key("p", COPY, StepInputs("arm64")),
        step_key("p", COPY, StepInputs("amd64", stages=(("build", "k1"),))),
        step_key("p", COPY, StepInputs("amd64", stages=(("build", "k2"),))),
        step_key("p", COPY, StepInputs("amd64", downloads=(("build", "k1"),))),
    }
    assert len(found) == 6


def test_an_argument_is_part_of_the_keys_after_it_only() -> None:
    text = "FROM debian:12\nRUN one\nARG V=1\nRUN two\n"
    before, after = keys(text), keys(text, V="2")
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_an_argument_is_part_of_a_copy_only_where_it_is_used() -> None:
    text = "FROM debian:12\nARG V=1\nCOPY a /x\n"
    assert keys(text) == keys(text, V="2")
    used = "FROM debian:12\nARG V=1\nCOPY a$V /x\n"
    assert keys(used) != keys(used, V="2")


def test_comments_and_blanks_change_nothing() -> None:
    assert keys("FROM debian:12\nCOPY a /x\nWORKDIR /b\n") == keys(
        "# hello\nFROM debian:12 AS named\n\ncopy   a    /x\n# there\nWORKDIR /c/../b\n"
    )


def described(root: Path, step: CopyStep = COPY) -> dict[str, object]:
    inputs = StepInputs("amd64", resolve_sources(step, context_tree(root)))
    return describe_inputs("p", step, inputs)


def test_changed_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("one", "two"):
        (tmp_path / "a" / name).write_text(name)
    before = described(tmp_path)
    (tmp_path / "a/one").write_text("other")
    assert explain(before, described(tmp_path)) == "file a/one changed"
    (tmp_path / "a/two").chmod(0o600)
    assert explain(before, described(tmp_path)) == "2 files changed: a/one, a/two"
    (tmp_path / "a/one").unlink()
    (tmp_path / "a/three").write_text("3")
    assert (
        explain(before, described(tmp_path)) == "file a/two changed; file a/three added; file a/one removed"
    )


def test_many_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    before = described(tmp_path)
    for number in range(7):
        (tmp_path / f"a/{number}").write_text("x")
    assert explain(before, described(tmp_path)) == "7 files added: a/0, a/1, a/2, a/3, a/4 and 2 more"


def test_digests_are_shortened_for_many_files_and_still_compared(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(2000):
        (tmp_path / f"a/{number}").write_text("x")
    exactly = described(tmp_path)
    (tmp_path / "a/more").write_text("x")
    above = described(tmp_path)
    assert explain(exactly, above) == "file a/more added"
    files = above["files"]
    assert isinstance(files, dict)
    assert {len(text.rpartition(" ")[2]) for text in files.values()} == {16}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env": (("A", "2"), ("B", "2"))}, "argument A changed from 1 to 2"),
        ({"env": (("A", "1"), ("B", "a b"))}, "variable B changed from 2 to 'a b'"),
        ({"env": (("B", "2"),), "arg_names": ()}, "argument A removed"),
        ({"env": (("A", "1"), ("B", "2"), ("C", ""))}, "variable C added"),
        ({"argv": ("y",), "text": "RUN y"}, "instruction changed"),
        ({"user": "app"}, "user changed from none to app"),
        ({"workdir": "/w"}, "workdir changed from / to /w"),
        ({"mounts": (MOUNT,)}, "instruction changed"),
        ({}, "nothing changed"),
    ],
)
def test_changes_of_a_run_in_words(changes: dict[str, object], words: str) -> None:
    other = dataclasses.replace(RUN, **changes)  # type: ignore[arg-type]
    assert explain(describe_inputs("p", RUN, AMD), describe_inputs("p", other, AMD)) == words


def test_changes_around_a_step_in_words() -> None:
    before = describe_inputs("p", COPY, StepInputs("amd64", stages=(("build", "1"),)))
    after = describe_inputs("p", COPY, StepInputs("amd64", stages=(("build", "2"),)))
    assert explain(before, after) == "stage build changed"
    assert explain(before, describe_inputs("q", COPY, StepInputs("amd64", stages=(("build", "1"),)))) == (
        "the step before it changed"
    )
    assert explain(None, after) == "not built yet"
    assert explain({**before, "code": 0}, before) == "this version of stoneware builds steps differently"
    arm = describe_inputs("p", COPY, StepInputs("arm64", stages=(("build", "1"),)))
    assert explain(before, arm) == "architecture changed from amd64 to arm64"
    run = describe_inputs("p", RUN, AMD)
    assert explain(before, {**run, "args": {}, "env": {}, "stages": {"build": "1"}}) == "instruction changed"


def test_the_document_and_the_key_agree(tmp_path: Path) -> None:
    """Whenever the key differs, the documents give a reason."""
    (tmp_path / "a").write_text("1")
    variants: list[tuple[Step, StepInputs]] = [
        (RUN, AMD),
        (dataclasses.replace(RUN, env=()), AMD),
        (dataclasses.replace(RUN, network="none"), AMD),
        (COPY, StepInputs("amd64", resolve_sources(COPY, context_tree(tmp_path)))),
        (dataclasses.replace(COPY, chown="x"), AMD),
        (COPY, StepInputs("amd64", downloads=(("u", "1"),))),
        (WorkdirStep(1, "0", 2, "WORKDIR /a", path="/a"), AMD),
        (WorkdirStep(1, "0", 2, "WORKDIR /a", path="/a", user="u"), AMD),
    ]
    for one in variants:
        for two in variants:
            same = step_key("p", *one) == step_key("p", *two)
            told = explain(describe_inputs("p", *one), describe_inputs("p", *two))
            assert (told == "nothing changed") is same


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "\udcff").write_text("x")
    document = described(tmp_path)
    inputs = StepInputs("amd64", resolve_sources(COPY, context_tree(tmp_path)))
    assert len(step_key("p", COPY, inputs)) == 64
    assert list(document["files"]) == ["a/\\xff"]  # type: ignore[call-overload]
