from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.ui import text
from stoneware.ui.errors import render_error


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "-"), (0, "0B"), (999, "999B"), (1000, "1kB"), (212_400_000, "212MB"), (1_250_000_000, "1.25GB"),
     (999_999, "1MB"), (5 * 10**15, "5e+03TB")],
)  # fmt: skip
def test_sizes(count: int | None, shown: str) -> None:
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "Less than a second"), (0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"),
     (60, "1 minute"), (7199, "1 hour"), (7200, "2 hours"), (86400 * 6, "6 days"), (86400 * 14, "2 weeks"),
     (86400 * 65, "2 months"), (86400 * 800, "2 years")],
)  # fmt: skip
def test_ages(seconds: float, shown: str) -> None:
    assert text.age(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0s"), (12.34, "12.3s"), (59.99, "60.0s"), (125, "2m05s")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_tables_align_and_end_without_blanks() -> None:
    assert text.table(("A", "LONG"), [("xyz", "1"), ("", "")]) == "A     LONG\nxyz   1\n\n"


def test_one_line() -> None:
    assert text.one_line("a\n  b\tc") == "a b c"
    assert text.one_line("abcdef", 4) == "abc…"
    assert text.short_id("sha256:0123456789abcdef") == "0123456789ab"


def test_errors_say_where_what_and_what_next() -> None:
    error = InputError(
        "unknown word", details="one\n\ntwo", resolution="do this\nor that", location="Machinefile:3"
    )
    assert render_error(error) == "error: Machinefile:3: unknown word\n  one\n\n  two\n→ do this\n  or that\n"
    assert render_error(InputError("bad")) == "error: bad\n"
    assert "\x1b[1;31merror:" in render_error(error, colour=True)
