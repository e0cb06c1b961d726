"""Sizes, ages and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stoneware.untrusted.visible import visible

_UNITS = ("B", "kB", "MB", "GB", "TB")
_SPANS = (
    (1, "second"),
    (60, "minute"),
    (3600, "hour"),
    (86400, "day"),
    (7 * 86400, "week"),
    (30 * 86400, "month"),
    (365 * 86400, "year"),
)


def size(count: int | None) -> str:
    """Return bytes in decimal units with three digits, as Docker shows them: `212MB`; `-` for None."""
    if count is None:
        return "-"
    value = float(count)
    unit = 0
    while unit < len(_UNITS) - 1 and value >= 999.5:  # three digits of more would be 1e+03
        value /= 1000
        unit += 1
    return f"{value:.3g}{_UNITS[unit]}"


def age(seconds: float) -> str:
    """Return a span of time in its largest fitting unit: `About a minute`, `3 hours`."""
    if seconds < 1:
        return "Less than a second"
    length, unit = max(span for span in _SPANS if seconds >= span[0])
    count = int(seconds // length)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return how long something took: `0.3s`, `12.4s`, `2m05s`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


def short_id(identity: str) -> str:
    """Return the first twelve hexadecimal digits of an id, without its `sha256:`."""
    return identity.removeprefix("sha256:")[:12]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows in aligned columns with three blanks between, the header first; ends with a newline."""
    lines = [list(header), *[[visible(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def one_line(text: str, width: int = 0) -> str:
    """Return text on one line, cut to `width` characters with an ellipsis (0: not cut)."""
    flat = " ".join(text.split())
    return flat if not width or len(flat) <= width else flat[: width - 1] + "…"
