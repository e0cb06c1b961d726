"""Times of a console, as people write and read them."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.launch.console import Stamper, parse_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1767366245", 1767366245.0),
        ("12.5", 12.5),
        ("10m", 400.0),
        ("1h30m", -4400.0),
        ("2026-01-02T15:04:05Z", 1767366245.0),
        ("2026-01-02T16:04:05.500000000+01:00", 1767366245.5),
    ],
)
def test_moments(text: str, moment: float) -> None:
    assert parse_moment(text, 1000.0, "--since") == moment


@pytest.mark.parametrize("text", ["", "soon", "-5m", "2026-13-01", "1e9", "99999999999999"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(InputError, match="--since"):
        parse_moment(text, 1000.0, "--since")


def test_each_line_has_the_time_of_its_first_byte() -> None:
    stamper = Stamper(lambda offset: None if offset > 20 else float(offset))
    pieces = [b"one\ntw", b"o\n", b"", b"\n", b"a long line\n", b"not known"]
    end, made = 0, b""
    for piece in pieces:
        end += len(piece)
        made += stamper.feed(piece, end)
    assert made.decode().splitlines() == [
        "1970-01-01T00:00:00.000000000Z one",
        "1970-01-01T00:00:04.000000000Z two",
        "1970-01-01T00:00:08.000000000Z ",
        "1970-01-01T00:00:09.000000000Z a long line",
        "not known",
    ]
