"""Interpolation against the cases of templates, and against the second reading of their grammar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.compose.interpolation import InterpolationError, interpolate
from tests.config import oracle

CASES = json.loads((Path(oracle.__file__).parent / "cases" / "interpolation.json").read_text())
NAMES = ["A", "B", "_c", "D9", "UNSET", "U2"]
PIECES = [
    *("$", "$$", "${", "}", "{", "${}", "\\", " ", "=", "!", ":", "\n", "é", "1", "text"),
    *(":-", "-", ":?", "?", ":+", "+"),
    *NAMES,
    *(f"${name}" for name in NAMES),
    *(f"${{{name}" for name in NAMES),
    *(f"${{{name}}}" for name in NAMES),
    *(f"${{{name}{op}" for name in NAMES[3:] for op in (":-", "-", ":?", "?", ":+", "+")),
]
documents = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
values_of = st.dictionaries(st.sampled_from(NAMES[:4]), st.sampled_from(["", "x", "$A", "${B}", "a}b"]))


def expand(text: str, values: dict[str, str]) -> tuple[str | None, list[str]]:
    """Return the result (None: refused) and the variables that were taken as blank."""
    unset: list[str] = []
    try:
        return interpolate(text, values, unset.append), unset
    except InterpolationError:
        return None, unset


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_cases(case: dict[str, Any]) -> None:
    values = {**CASES["values"], **case.get("values", {})}
    result, unset = expand(case["template"], values)
    kinds = {fault[1] for fault in case.get("faults", [])}
    if kinds <= {"unset"}:
        assert result == case["result"] if "result" in case else result is not None
        assert set(unset) == {fault[2] for fault in case.get("faults", [])}
    else:
        assert result is None


@given(text=documents, values=values_of)
def test_the_second_reading_agrees(text: str, values: dict[str, str]) -> None:
    wanted, wrong = oracle.render(text.encode(), {key: value.encode() for key, value in values.items()})
    result, unset = expand(text, values)
    if any(each.kind != "unset" for each in wrong):
        assert result is None
    else:
        assert result == wanted.decode()
        assert unset == [each.name for each in wrong]


def test_deep_nesting_and_many_braces_end() -> None:
    deep = "${A:-" * 5000 + "x" + "}" * 5000
    assert expand(deep, {})[0] in (None, "x")
    assert expand("${A:-" * 50_000, {}) == (None, [])
    assert expand("{" * 100_000 + "$A", {"A": "1"}) == ("{" * 100_000 + "1", [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${A?}", "required variable A is missing a value"),
        ("${A:?because ${B}}", "required variable A is missing a value: because b"),
        ("x ${ A} y", "malformed expression '${ A}'"),
        ("${A/b/c}", "malformed expression '${A/b/c}'"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        interpolate(text, {"B": "b"}, lambda _: None)
    assert str(caught.value) == reason
