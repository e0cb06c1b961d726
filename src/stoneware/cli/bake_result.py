"""What bake and import print at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoneware.cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from stoneware.bake.options import BakeResult


def show(result: BakeResult, sentence: str, *, quiet: bool, json_output: bool) -> None:
    """Print what a bake has made: JSON, the image's id alone, or a sentence for people and the tags."""
    if json_output:
        print_json(result.to_document())
    elif quiet:
        print_line(result.image_id)
    else:
        say(sentence)  # no result: it goes to standard error
        for tag in result.tags:
            print_line(tag)
