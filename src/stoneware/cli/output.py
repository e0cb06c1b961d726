"""Results on stdout, messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from stoneware.ui.hints import completed
from stoneware.ui.text import table
from stoneware.untrusted.visible import json_text


def print_json(value: Any) -> None:
    """Print a JSON document for programs and people: indented, keys in our order."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def print_line(text: str) -> None:
    """Print one line of a result."""
    sys.stdout.write(f"{text}\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a result as a table."""
    sys.stdout.write(table(header, rows))


def say(text: str) -> None:
    """Print a message, which is no result, to stderr, after the results before it.

    Commands for clusters that it names get the flags of the one that runs.
    """
    sys.stdout.flush()
    sys.stderr.write(f"{completed(text)}\n")
