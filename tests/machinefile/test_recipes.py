"""Machinefiles to recipes, by the case files."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.machinefile.load import load_recipe
from tests.machinefile.support import Case, difference, document, read_cases, resolve

RECIPES = read_cases("recipes.txt")
ERRORS = read_cases("errors.txt")


def check(case: Case) -> None:
    if "error" in case.want:
        check_error(case)
        return
    recipe = load_recipe(
        case.file,
        filename="Machinefile",
        build_args=case.args,
        target=case.target,
        resolve_base=resolve,
        architecture="amd64",
    )
    want = dict(case.want)
    if "warned" in want:
        words = want.pop("warned")
        assert len(words) == len(recipe.warnings), recipe.warnings
        for text, warning in zip(words, recipe.warnings, strict=True):
            assert text in warning
    got = document(recipe)
    for wanted, step in zip(want.get("steps", []), got["steps"], strict=False):
        if wanted.pop("exact_env", False):
            assert set(step["env"]) == set(wanted["env"])
    assert difference(want, got) == ""


def check_error(case: Case) -> None:
    line, brief, resolution = case.want["error"]
    with pytest.raises(InputError) as caught:
        load_recipe(
            case.file,
            filename="Machinefile",
            build_args=case.args,
            target=case.target,
            resolve_base=resolve,
            architecture="amd64",
        )
    error = caught.value
    assert brief in error.brief
    assert resolution in error.resolution
    assert error.location == (f"Machinefile:{line}" if line else "Machinefile")
    if line and case.file:
        assert case.file.splitlines()[line - 1].strip() in error.details
    if resolution:
        assert error.resolution


@pytest.mark.parametrize("case", RECIPES, ids=lambda case: case.name)
def test_recipe(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.name)
def test_refusal(case: Case) -> None:
    assert "error" in case.want
    check(case)


def test_nul_byte_is_refused_with_its_line() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("FROM debian:12\nRUN a\0b\n", resolve_base=resolve)
    assert caught.value.location == "Machinefile:2"


def test_carriage_returns_are_no_part_of_values() -> None:
    recipe = load_recipe("FROM debian:12\r\nENV A=b\r\nRUN true\r\n", resolve_base=resolve)
    assert ("A", "b") in recipe.target.config.env
    assert recipe.target.steps[0].argv[-1] == "true"  # type: ignore[attr-defined]


def test_byte_order_mark_is_skipped() -> None:
    recipe = load_recipe("\ufeff# escape=`\nFROM debian:12\nENV A=`$B\n", resolve_base=resolve)
    assert ("A", "$B") in recipe.target.config.env


def test_an_extra_label_names_a_kernel_that_there_is() -> None:
    with pytest.raises(InputError, match=r"there is no stoneware\.kernel"):
        load_recipe("FROM debian:12\n", resolve_base=resolve, extra_labels={"stoneware.kernel": "linux"})


def test_extra_labels_go_over_those_of_the_file() -> None:
    recipe = load_recipe(
        "FROM debian:12\nLABEL a=1 b=1\n", resolve_base=resolve, extra_labels={"b": "2", "c": "3"}
    )
    assert recipe.target.config.labels == (("a", "1"), ("b", "2"), ("c", "3"))


def test_platform_of_another_architecture() -> None:
    recipe = load_recipe(
        "FROM debian:12\nARG TARGETARCH\nRUN x\n", resolve_base=resolve, architecture="arm64"
    )
    assert ("TARGETARCH", "arm64") in recipe.target.steps[0].env  # type: ignore[attr-defined]


def test_known_images_are_named_when_a_base_is_unknown() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("FROM kafke\n", resolve_base=resolve, known=("debian:12", "kafka"))
    assert "Did you mean kafka?" in caught.value.resolution


def test_the_line_ends_of_windows_are_told_where_they_stay() -> None:
    text = "FROM debian:12\nRUN a\\\n b\nRUN <<EOF\necho a\nEOF\nCOPY <<A /a\na\nA\n"
    said = {}
    for ends in ("\n", "\r\n"):
        recipe = load_recipe(text.replace("\n", ends), filename="M", resolve_base=resolve)
        said[ends] = [
            warning.partition(" of the here-document end in CR LF")[0] for warning in recipe.warnings
        ]
    assert said == {"\n": [], "\r\n": ["M:4: the lines", "M:7: the lines"]}
