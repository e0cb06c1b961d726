"""What a machine reports, bounded and checked: the module that every reader of reports uses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.guest.reports import (
    BUILD,
    HEALTH,
    INSPECTION,
    STATUS,
    HealthReport,
    InvalidReportError,
    Status,
    build_report_of,
    digests,
    health_of,
    inspection_of,
    status_of,
    texts,
)

HOSTILE = {
    "brackets": "[" * 5_000,
    "closed-brackets": "[" * 5_000 + "]" * 5_000,
    "deep-members": '{"a":' * 5_000,
    "deep-in-a-member": '{"phase":"running","x":' + "[" * 9 + "]" * 9 + "}",
    "long-number": '{"exit":' + "9" * 5_000 + "}",
    "nan": '{"phase":"running","load":NaN}',
    "infinite": '{"phase":"running","load":1e999}',
    "list": "[1, 2]",
    "text": '"running"',
    "nothing": "",
    "null": "null",
    "many": json.dumps({f"k{number}": 0 for number in range(2_000)}),
    "large": '{"phase":"running"' + " " * 40_000 + "}",
    "unfinished": '{"phase":"runn',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_report_is_invalid_and_nothing_worse(text: str) -> None:
    for read in (
        lambda: status_of({STATUS: text}),
        lambda: health_of({HEALTH: text}),
        lambda: build_report_of({BUILD: text}, "t"),
    ):
        with pytest.raises(InvalidReportError, match=r"^its report stoneware/\w+ is invalid: it "):
            read()


@pytest.mark.parametrize(
    "report",
    [
        {"phase": ["running"]},
        {"phase": "stopping"},
        {"phase": 1},
        {"config": {"a": 1}},
        {"config": "sha256:x"},
        {"image": "\x1b[2J"},
        {"error": None},
        {"error": ["x"]},
    ],
)
def test_a_status_of_wrong_types_is_invalid(report: dict[str, object]) -> None:
    with pytest.raises(InvalidReportError):
        status_of({STATUS: json.dumps(report)})


@pytest.mark.parametrize(
    "change",
    [
        {"step": True},
        {"step": -1},
        {"step": 10**9},
        {"step": "1"},
        {"state": "x"},
        {"exit": 1.5},
        {"exit": 256},
    ],
)
def test_a_build_report_of_wrong_types_is_invalid(change: dict[str, object]) -> None:
    good = {"token": "t", "step": 1, "state": "done", "exit": 0, "message": ""}
    assert build_report_of({BUILD: json.dumps(good)}, "t") is not None
    assert build_report_of({BUILD: json.dumps(good)}, "other") is None
    with pytest.raises(InvalidReportError):
        build_report_of({BUILD: json.dumps({**good, **change})}, "t")


def test_lone_surrogates_go_no_further() -> None:
    said = status_of({STATUS: '{"phase":"failed","error":"a\\ud800b"}'}).error
    assert said == "a\N{REPLACEMENT CHARACTER}b"
    assert texts({"a/b": "\ud800", "c/d": 1}) == {"a/b": "\N{REPLACEMENT CHARACTER}"}
    assert texts([1]) == {}


def test_what_is_missing_is_empty() -> None:
    assert status_of({}) == Status()
    assert health_of({}) == HealthReport()
    assert build_report_of({}, "t") is None


def test_an_answer_to_another_question_is_none() -> None:
    answer = {INSPECTION: f"n1\n{'0' * 64}  /etc/a\nmissing  /etc/b\n"}
    assert inspection_of(answer, "n1") == {"/etc/a": "0" * 64, "/etc/b": ""}
    assert inspection_of(answer, "n2") is None
    assert inspection_of(answer, "") is None
    assert inspection_of({}, "n1") is None
    assert digests(f"missing  /{'x' * 5_000}\n") == {}


@given(st.text(max_size=300))
def test_any_text_is_a_report_or_invalid(text: str) -> None:
    try:
        assert isinstance(status_of({STATUS: text}), Status)
    except InvalidReportError as error:
        str(error).encode()
    digests(text)
