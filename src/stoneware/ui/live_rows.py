"""What all live views share: rows that are drawn again and again, and text that scrolls by above them."""

from __future__ import annotations

import time
from typing import Self, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from stoneware.ui.terminal import make_console, shown
from stoneware.ui.text import duration


class LiveRows:
    """Rows that are redrawn ten times a second from `draw` on; a subclass's `render` returns them.

    `reserved` lines of the screen are left free of rows.
    """

    def __init__(self, stream: TextIO, *, refresh: bool = True, reserved: int = 3) -> None:
        self._console = make_console(stream)
        self._refresh = refresh
        self._reserved = reserved
        self._live: Live | None = None
        self._opened = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def draw(self) -> None:
        """Begin to draw, unless that has begun; below what was printed before, not over it."""
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self.render,
                auto_refresh=self._refresh,  # tests draw by themselves
                refresh_per_second=10,
            )
            self._live.start()

    def stop(self) -> None:
        """Leave the terminal to somebody else; the rows stay as they are."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str, style: str = "", *, soft_wrap: bool = False) -> None:
        """Print a text above the rows."""
        self._console.print(shown(text, style), soft_wrap=soft_wrap)

    def render(self) -> RenderableType:
        """Return the view as it is now."""
        return Group()

    @property
    def room(self) -> int:
        """The number of rows that fit on the screen."""
        return max(self._console.height - self._reserved, 3)

    def passed(self) -> str:
        """Return how long the view has been there, in words."""
        return duration(time.monotonic() - self._opened)

    def row(self, body: str, tail: str, style: str) -> Text:
        """Return a line with a text at its left, cut where it is too long, and one at its right."""
        room = max(self._console.width - len(tail) - 4, 10)
        body = body if len(body) <= room else f"{body[: room - 1]}…"
        # One column is left free: a line that fills the last one wraps on some terminals.
        gap = " " * max(self._console.width - len(body) - len(tail) - 1, 1)
        return shown(f"{body}{gap}{tail}", style, no_wrap=True)


def more(count: int) -> Text:
    """Return the line for rows that do not fit."""
    return shown(f"  … {count} more", "dim")
