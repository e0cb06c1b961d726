"""Showing a bake's result, and bakes that need no work: what of `bake` is used before anything is loaded."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.streams import OutputError
from stoneware.ui.errors import render_error
from stoneware.ui.text import duration, short_id

COMMANDS = ("bake", "build")
JSON = "json"
QUIET = "quiet"
SUMMARY = "summary"
READER_GONE = 1  # the exit code for a closed pipe: whoever read our output has seen enough


def show(result: Mapping[str, Any], shown: str) -> None:
    """Show what `BakeResult.to_document` holds."""
    if shown == JSON:
        print_json(result)
    elif shown == QUIET:
        print_line(result["image_id"])
    else:
        _summary(result)


def _summary(result: Mapping[str, Any]) -> None:
    commit = "no commit" if result["commit"] is None else f"commit {result['commit'][:7]}"
    state = ", work tree differs" if result["dirty"] else ""
    say(
        f"image {short_id(result['image_id'])} ({commit}{state}): "
        f"{result['cached']} cached, {result['ran']} run, {duration(result['seconds'])}"
    )
    for tag in result["tags"]:
        print_line(tag)


def bake_again(words: Sequence[str]) -> int | None:
    """Show the result of a bake that has nothing to do and return the exit code; None for all else."""
    if not words or words[0] not in COMMANDS:
        return None
    from stoneware.bake.memo import recall

    started = time.monotonic()
    memo = recall(words)
    # Without a commit the bake has something to tell.
    if memo is None or (memo["result"]["commit"] is None and memo["shown"] != QUIET):
        return None
    try:
        show({**memo["result"], "seconds": round(time.monotonic() - started, 3)}, memo["shown"])
        sys.stdout.flush()
    except BrokenPipeError:
        return READER_GONE
    except OutputError as error:
        sys.stderr.write(render_error(error))
        return error.exit_code
    return 0
