"""What files and machines hold against the operator's eyes and our parsers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stoneware.untrusted.bounded import BoundsError, bounded_json, read_bounded


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5_000,
        "[" * 5_000 + "]" * 5_000,
        '{"a":' * 100_000,
        '"' * 100_001 + "[" * 70,
        "1" * 5_000,
        "1e400",
        "NaN",
        "-Infinity",
        b"\xff",
        "{",
        "",
        " " * 2_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_json_out_of_bounds_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(BoundsError, match=r"^(is|holds) "):
        bounded_json(text, max_bytes=1_000 if not text.strip() else 1 << 20)


def test_brackets_in_strings_are_no_depth() -> None:
    value = {"key\\": "[" * 500 + '\\"', "b": ["{" * 500]}
    assert bounded_json(json.dumps(value)) == value


def test_lone_surrogates_are_replaced() -> None:
    assert bounded_json('{"\\uD800": ["\\udfff", "\\ud83d\\ude00"]}') == {"�": ["�", "\U0001f600"]}


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero"), tmp_path / "large"):
        with pytest.raises(BoundsError):
            read_bounded(path, 10)
    (tmp_path / "large").write_bytes(b"x" * 10)
    assert read_bounded(tmp_path / "large", 10) == b"x" * 10
