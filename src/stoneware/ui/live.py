"""The live view of a bake: a line with a timer for each thing done, the end of the output of what runs."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import field
from typing import Self, TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from stoneware.bake import events
from stoneware.dataclass import dataclass
from stoneware.ui.live_rows import LiveRows, more
from stoneware.ui.terminal import shown
from stoneware.ui.text import duration, one_line
from stoneware.untrusted.visible import visible, without_sequences

_OUTPUT_LINES = 6
_RESERVED = _OUTPUT_LINES + 4  # lines of the screen that rows must leave free


@dataclass
class _Row:
    """One line of the view. `state` is running, done, cached or failed."""

    title: str
    began: float
    state: str = "running"
    seconds: float = 0.0
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_OUTPUT_LINES))


_STYLES = {"running": "bold", "done": "", "cached": "dim", "failed": "bold red"}
_MARKS = {"running": "•", "done": "✓", "cached": "✓", "failed": "✗"}


class LiveView(LiveRows):
    """Rows from the beginning on; remarks scroll by above them."""

    def __init__(self, stream: TextIO, *, refresh: bool = True) -> None:
        super().__init__(stream, refresh=refresh, reserved=_RESERVED)
        self._rows: dict[tuple[str, int | str], _Row] = {}

    def __enter__(self) -> Self:
        self.draw()  # at once: a bake begins without a question
        return self

    def emit(self, event: events.Event) -> None:
        """Take an event into the rows, or print it above them."""
        match event:
            case events.StepCached(stage, index, total, _, text):
                self._begin((stage, index), f"[{stage} {index}/{total}] {text}").state = "cached"
            case events.StepStarted(stage, index, total, _, text, _):
                self._begin((stage, index), f"[{stage} {index}/{total}] {text}")
            case events.StepOutput(stage, index, texts):
                self._row((stage, index)).output.extend(texts)
            case events.StepFinished(stage, index, seconds):
                self._end((stage, index), "done", seconds)
            case events.StepFailed(stage, index, seconds, _):
                self._end((stage, index), "failed", seconds)
            case events.TerminalTaken():
                self.stop()
            case events.TerminalReturned():
                # A shell in the builder has scrolled the rows away: they begin again below it.
                self._rows.clear()
                self.draw()
            case events.PhaseStarted(name, text):
                self._begin(("", name), f"[{name}] {text}")
            case events.PhaseFinished(name, seconds):
                self._end(("", name), "done", seconds)
            case _:
                self._remark(event)

    def _remark(self, event: events.Event) -> None:
        match event:
            case events.CheckResult(name, severity, outcome, detail) if outcome != "pass":
                self.say(f"check {name}: {outcome} ({severity}) {detail}", "yellow")
            case events.Note(text, warning):
                self.say(f"warning: {text}" if warning else text, "yellow" if warning else "")
            case events.TerraformOutput(text):
                self.say(f"terraform: {text}", "dim")

    def _begin(self, key: tuple[str, int | str], title: str) -> _Row:
        if key in self._rows:  # the same phase of a later stage: keep the earlier line, under another key
            old = self._rows.pop(key)
            self._rows[key[0], f"{key[1]}#{len(self._rows)}"] = old
        row = self._rows[key] = _Row(title, time.monotonic())
        return row

    def _row(self, key: tuple[str, int | str]) -> _Row:
        # Begun before a shell took the terminal.
        return self._rows[key] if key in self._rows else self._begin(key, f"[{key[1]}]")

    def _end(self, key: tuple[str, int | str], state: str, seconds: float) -> None:
        row = self._row(key)
        row.state, row.seconds = state, seconds

    def render(self) -> RenderableType:
        """Return the view as it is now: as many of the last rows as fit on the screen."""
        rows = list(self._rows.values())
        hidden = max(len(rows) - self.room, 0)  # the first of them: what runs is at the end
        lines: list[RenderableType] = []
        if hidden:
            lines.append(more(hidden))
        for row in rows[hidden:]:
            lines.append(self._line(row))
            if row.state == "running":
                lines += [_output(text, self._console.width) for text in row.output]
        done = sum(row.state != "running" for row in rows)
        lines.append(shown(f"{done}/{len(rows)} done, {self.passed()}", "dim"))
        return Group(*lines)

    def _line(self, row: _Row) -> Text:
        seconds = time.monotonic() - row.began if row.state == "running" else row.seconds
        tail = "cached" if row.state == "cached" else duration(seconds)
        title = one_line(visible(row.title, keep="\n\t"), max(self._console.width - len(tail) - 5, 10))
        gap = " " * max(self._console.width - len(title) - len(tail) - 3, 1)
        return shown(f"{_MARKS[row.state]} {title}{gap}{tail}", _STYLES[row.state], no_wrap=True)


def _output(line: str, width: int) -> Text:
    # What a step prints may hold colours and cursor movements: the words are kept, the rest is not.
    plain = visible(without_sequences(line), keep="\t")
    return shown("    " + one_line(plain, max(width - 5, 10)), "dim", no_wrap=True)
