"""Rich's console for the live views: text of others is inert and visible on it."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.text import Text

from stoneware.untrusted.visible import visible_lines


def make_console(stream: TextIO) -> Console:
    """Return a console that draws on a stream; what it draws is made of `shown` only."""
    # Rich would take [red] in a machine's words for a style, and :name: for a picture.
    return Console(file=getattr(stream, "styled", stream), highlight=False, markup=False, emoji=False)


def shown(text: str, style: str = "", *, no_wrap: bool | None = None) -> Text:
    """Return text in a style: without markup, with everything in it visible."""
    return Text(visible_lines(text), style, no_wrap=no_wrap)
