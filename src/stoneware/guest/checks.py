"""The named checks that a sealed machine must pass; the checks themselves are build/checks.sh."""

from __future__ import annotations

from pathlib import Path

from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class Check:
    """A leak check. A failed one of severity `error` fails the bake, of severity `warning` it does not."""

    name: str
    severity: str
    reason: str


def _table() -> tuple[Check, ...]:
    lines = (Path(__file__).parent / "build/checks.tsv").read_text().splitlines()
    return tuple(Check(*line.split("\t")) for line in lines)


CHECKS: tuple[Check, ...] = _table()
