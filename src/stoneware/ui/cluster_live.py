"""The live view of a cluster: a row per machine with its state, a timer and the end of its console."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from stoneware.cluster import events
from stoneware.ui.cluster import plan_text, remark_lines, state_text
from stoneware.ui.terminal import make_console, shown
from stoneware.ui.text import duration, one_line
from stoneware.untrusted.visible import visible, without_sequences

_RESERVED = 3  # lines of the screen that rows must leave free


@dataclass
class _Row:
    """One machine. `outcome` is running, done or failed."""

    name: str
    state: str
    began: float
    outcome: str = "running"
    seconds: float = 0.0
    line: str = ""


_STYLES = {"running": "bold", "done": "", "failed": "bold red"}
_MARKS = {"running": "•", "done": "✓", "failed": "✗"}


class ClusterLiveView:
    """Rows that are redrawn ten times a second, from the first machine on; remarks scroll by above them."""

    def __init__(self, stream: TextIO, *, refresh: bool = True) -> None:
        self._console = make_console(stream)
        self._rows: dict[str, _Row] = {}
        self._began = time.monotonic()
        self._started = False
        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            auto_refresh=refresh,
            refresh_per_second=10,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._live.stop()

    def emit(self, event: events.Event) -> None:
        """Take an event into the rows, or print it above them."""
        match event:
            case events.PlanMade(plan):
                self._console.print(shown(plan_text(plan, every=False).rstrip("\n")))
            case events.MachineStarted(name, action):
                self._rows[name] = _Row(name, action, time.monotonic())
                self._show()
            case events.MachineProgress(name, phase, health, line):
                row = self._row(name)
                row.state = state_text(phase, health)
                row.line = line or row.line
            case events.MachineFinished(name, _, state, seconds):
                self._end(name, "done", state, seconds)
            case events.MachineFailed(name, _, reason, seconds):
                self._end(name, "failed", reason, seconds)
            case _:
                style = "yellow" if isinstance(event, events.Note) and event.warning else "dim"
                for line in remark_lines(event):
                    self._console.print(shown(line, style))

    def _show(self) -> None:
        # Not before there is something to draw: a question may come first.
        if not self._started:
            self._started = True
            self._live.start()

    def _row(self, name: str) -> _Row:
        if name not in self._rows:
            self._rows[name] = _Row(name, "", time.monotonic())
        self._show()
        return self._rows[name]

    def _end(self, name: str, outcome: str, state: str, seconds: float) -> None:
        row = self._row(name)
        row.outcome, row.state, row.seconds = outcome, state, seconds

    def render(self) -> RenderableType:
        """Return the view as it is now: as many rows as fit, those that still go on first."""
        rows = list(self._rows.values())
        room = max(self._console.height - _RESERVED, 3)
        chosen = rows if len(rows) <= room else self._most_telling(rows, room)
        lines: list[RenderableType] = [self._line(row) for row in chosen]
        if len(chosen) < len(rows):
            lines.append(shown(f"  … {len(rows) - len(chosen)} more", "dim"))
        done = sum(row.outcome != "running" for row in rows)
        lines.append(shown(f"{done}/{len(rows)} done, {duration(time.monotonic() - self._began)}", "dim"))
        return Group(*lines)

    def _most_telling(self, rows: list[_Row], room: int) -> list[_Row]:
        order = {"failed": 0, "running": 1, "done": 2}
        chosen = sorted(rows, key=lambda row: order[row.outcome])[:room]
        return [row for row in rows if row in chosen]

    def _line(self, row: _Row) -> Text:
        seconds = time.monotonic() - row.began if row.outcome == "running" else row.seconds
        tail = duration(seconds)
        width = max((len(other.name) for other in self._rows.values()), default=0)
        head = f"{_MARKS[row.outcome]} {row.name.ljust(width)}  {visible(row.state).ljust(17)}"
        console = _printable(row.line) if row.outcome == "running" else ""
        room = max(self._console.width - len(tail) - 4, 10)
        body = f"{head}  {one_line(console)}".rstrip()
        body = body if len(body) <= room else f"{body[: room - 1]}…"
        gap = " " * max(self._console.width - len(body) - len(tail) - 1, 1)
        return shown(f"{body}{gap}{tail}", _STYLES[row.outcome], no_wrap=True)


def _printable(line: str) -> str:
    """Return a console's line without colours and cursor movements."""
    return visible(without_sequences(line))
