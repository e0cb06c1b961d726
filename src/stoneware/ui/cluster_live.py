"""The live view of a cluster: a row per machine with its state, a timer and the end of its console."""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from stoneware.cluster import events
from stoneware.dataclass import dataclass
from stoneware.ui.cluster import other_lines, plan_text, state_text
from stoneware.ui.live_rows import LiveRows, more
from stoneware.ui.terminal import shown
from stoneware.ui.text import duration, one_line
from stoneware.untrusted.visible import visible, without_sequences


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


class ClusterLiveView(LiveRows):
    """Rows from the first machine on; remarks scroll by above them."""

    def __init__(self, stream: TextIO, *, refresh: bool = True) -> None:
        super().__init__(stream, refresh=refresh)
        self._rows: dict[str, _Row] = {}

    def emit(self, event: events.Event) -> None:
        """Take an event into the rows, or print it above them."""
        match event:
            case events.PlanMade(plan):
                self.say(plan_text(plan, every=False).rstrip("\n"))
            case events.MachineStarted(name, action):
                self._rows[name] = _Row(name, action, time.monotonic())
                self.draw()  # not before: a question may come first
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
                for line in other_lines(event):
                    self.say(line, style)

    def _row(self, name: str) -> _Row:
        if name not in self._rows:
            self._rows[name] = _Row(name, "", time.monotonic())
        self.draw()
        return self._rows[name]

    def _end(self, name: str, outcome: str, state: str, seconds: float) -> None:
        row = self._row(name)
        row.outcome, row.state, row.seconds = outcome, state, seconds

    def render(self) -> RenderableType:
        """Return the view as it is now: as many rows as fit: failures, then those that still go on."""
        rows = list(self._rows.values())
        chosen = rows if len(rows) <= self.room else self._most_telling(rows, self.room)
        lines: list[RenderableType] = [self._line(row) for row in chosen]
        if len(chosen) < len(rows):
            lines.append(more(len(rows) - len(chosen)))
        done = sum(row.outcome != "running" for row in rows)
        lines.append(shown(f"{done}/{len(rows)} done, {self.passed()}", "dim"))
        return Group(*lines)

    def _most_telling(self, rows: list[_Row], room: int) -> list[_Row]:
        order = {"failed": 0, "running": 1, "done": 2}  # a failure must not be pushed off the screen
        chosen = sorted(rows, key=lambda row: order[row.outcome])[:room]
        return [row for row in rows if row in chosen]

    def _line(self, row: _Row) -> Text:
        seconds = time.monotonic() - row.began if row.outcome == "running" else row.seconds
        width = max((len(other.name) for other in self._rows.values()), default=0)
        head = f"{_MARKS[row.outcome]} {row.name.ljust(width)}  {visible(row.state).ljust(17)}"
        console = _printable(row.line) if row.outcome == "running" else ""
        return self.row(f"{head}  {one_line(console)}".rstrip(), duration(seconds), _STYLES[row.outcome])


def _printable(line: str) -> str:
    """Return a console's line without colours and cursor movements."""
    return visible(without_sequences(line))
