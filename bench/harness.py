"""What every topic shares: timed commands, interleaved repetitions, and how a result is kept and shown."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/RESULTS.md"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Row:
    """One line of a result. `limit` is what `value` may be at most (at least, where `at_least` is set)."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    spread: str = ""

    def met(self) -> bool | None:
        """Return whether the limit is kept, or None where there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row as text: what, value, limit, verdict."""
        sign = "≥" if self.at_least else "≤"
        limit = "" if self.limit is None else f"{sign} {show(self.limit, self.unit)}"
        verdict = {None: "", True: "yes", False: "**no**"}[self.met()]
        return self.what, show(self.value, self.unit) + self.spread, limit, verdict


@dataclass(frozen=True)
class Section:
    """A topic's result; `notes` say how it was measured."""

    topic: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    measured: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))


def show(value: float, unit: str) -> str:
    """Return a value with its unit, to the digits that mean something."""
    if unit == "s":
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    if unit == TIMES:
        return f"{value:.2f}{TIMES}" if value < 10 else f"{value:.1f}{TIMES}"
    return f"{value:.1f} {unit}"


def timed_rows(
    samples: Mapping[str, Sequence[float]], limits: Mapping[str, float] | None = None
) -> list[Row]:
    """Return one row of seconds per name: the median, and the smallest and largest sample."""
    rows = []
    for name, values in samples.items():
        spread = f" ({show(min(values), 's')} to {show(max(values), 's')}, n={len(values)})"
        rows.append(Row(name, statistics.median(values), "s", (limits or {}).get(name), spread=spread))
    return rows


def ratio(
    samples: Mapping[str, Sequence[float]],
    over: str,
    under: str,
    limit: float | None = None,
    *,
    at_least: bool = False,
) -> Row:
    """Return the row with the ratio of two medians."""
    value = statistics.median(samples[over]) / statistics.median(samples[under])
    return Row(f"{over} ÷ {under}", value, TIMES, limit, at_least)


def interleave(
    cases: Mapping[str, Callable[[int], float]], repeats: int, *, warm: int = 0
) -> dict[str, list[float]]:
    """Run all cases in turn, `repeats` times after `warm` unmeasured rounds.

    A case gets the number of its round and returns seconds. Taking turns spreads whatever else this
    computer does evenly over the cases.
    """
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(warm + repeats):
        for name, case in cases.items():
            seconds = case(turn)
            if turn >= warm:
                samples[name].append(seconds)
            print(f"  {name}: {show(seconds, 's')}{'' if turn >= warm else ' (warm-up)'}", file=sys.stderr)
    return samples


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command and return its standard output. A failure ends the benchmark with its output."""
    done = subprocess.run(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        check=False,
    )
    if done.returncode != 0:
        words = " ".join(str(word) for word in argv)
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise SystemExit(f"bench: {words}\nended with exit code {done.returncode}:\n{tail}")
    return done.stdout


def timed(argv: Sequence[str | Path], **options: Mapping[str, str] | Path | None) -> float:
    """Run a command and return how many seconds it took."""
    started = time.perf_counter()
    run(argv, **options)  # type: ignore[arg-type]
    return time.perf_counter() - started


def written() -> dict[str, list[str]]:
    """Return what RESULTS.md says of each topic, as lines."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    sections = [part.rstrip().split("\n") for part in re.split(r"(?m)^(?=## )", text)[1:]]
    topics = (re.search(r"`python -m bench (\S+)`", lines[-1]) for lines in sections)
    return {found[1]: [*lines, ""] for found, lines in zip(topics, sections, strict=True) if found}


def section_lines(section: Section) -> list[str]:
    """Return a section as lines of Markdown."""
    lines = [f"## {section.title}", "", "| | measured | wanted | met |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in section.rows]
    notes = [*section.notes, f"`python -m bench {section.topic}`, {section.measured}."]
    return [*lines, "", *[f"- {note}" for note in notes], ""]
