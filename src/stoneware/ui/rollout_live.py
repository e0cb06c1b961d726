"""The live view of a rollout: a row per machine with its stage, what it waits for, and a timer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from stoneware.cluster import events as cluster_events
from stoneware.dataclass import dataclass
from stoneware.rollout.gatekeeper import Answer
from stoneware.rollout.journal import Event
from stoneware.rollout.planner import Planned
from stoneware.rollout.state import IN_BATCH, RolloutState, Stage
from stoneware.ui.live_rows import LiveRows, more
from stoneware.ui.progress import remark_lines
from stoneware.ui.rollout import event_lines, plan_summary, plan_text, stage_words
from stoneware.ui.terminal import shown
from stoneware.ui.text import duration
from stoneware.untrusted.visible import visible

_SCROLLED = ("failed", "rollback", "paused", "held")
_MARKS = {"pending": "·", "done": "✓", "failed": "✗"}
_STYLES = {"pending": "dim", "done": "", "failed": "bold red"}


@dataclass
class _Wait:
    """What machines wait for: the gate's words, for how long, and when it is given up (seconds)."""

    machines: tuple[str, ...]
    words: str
    elapsed: float
    limit: float


class RolloutLiveView(LiveRows):
    """Rows from the first event on; remarks scroll by above them."""

    def __init__(self, stream: TextIO, *, refresh: bool = True) -> None:
        super().__init__(stream, refresh=refresh)
        self._state: RolloutState | None = None
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._wait: _Wait | None = None

    def planned(self, planned: Planned, machines: int) -> None:
        """Print the plan."""
        for line in [*plan_text(planned).splitlines(), plan_summary(planned, machines), *planned.notes]:
            self.say(line, soft_wrap=True)

    def event(self, event: Event, state: RolloutState) -> None:
        """Take an event into the rows; what went wrong is printed above them."""
        self._state = state
        if event.name != "gate":  # any other line of the journal means that the wait is over
            self._wait = None
        for name in event.fields.get("machines", ()):
            self._began.setdefault(str(name), time.monotonic())
        self.draw()
        if event.name in _SCROLLED:
            for line in event_lines(event, state):
                self.say(line, "yellow", soft_wrap=True)

    def waiting(self, machines: Sequence[str], answer: Answer, elapsed: float, limit: float) -> None:
        """Show what is waited for."""
        words = f"{answer.gate}: {answer.verdict.reason}"
        self._wait = _Wait(tuple(machines), words, elapsed, limit)

    def emit(self, event: cluster_events.Event) -> None:
        """Print what Terraform says, and remarks, above the rows."""
        for line in remark_lines(event):
            self.say(line, "dim", soft_wrap=True)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Stop drawing while somebody is asked."""
        self.stop()
        yield  # the next event begins to draw again

    def render(self) -> RenderableType:
        """Return the view as it is now: as many rows as fit, those that are worked on first."""
        if self._state is None:
            return shown("")
        state = self._state
        names = list(state.machines)
        chosen = names if len(names) <= self.room else self._most_telling(names, self.room)
        lines: list[RenderableType] = [self._line(name, state) for name in chosen]
        if len(chosen) < len(names):
            lines.append(more(len(names) - len(chosen)))
        done = sum(item.stage is Stage.DONE for item in state.machines.values())
        # The journal has times of day, and clocks are set back.
        passed = duration(max(time.time() - state.started, 0.0))
        lines.append(shown(f"{state.id} {state.mode}: {done}/{len(names)} done, {passed}", "dim"))
        return Group(*lines)

    def _most_telling(self, names: list[str], room: int) -> list[str]:
        assert self._state is not None  # noqa: S101  # render has looked
        # A failure must not be pushed off the screen.
        order = {Stage.FAILED: 0, **dict.fromkeys(IN_BATCH, 1), Stage.PENDING: 2, Stage.DONE: 3}
        stages = self._state.machines
        chosen = sorted(names, key=lambda name: order[stages[name].stage])[:room]
        return [name for name in names if name in chosen]

    def _line(self, name: str, state: RolloutState) -> Text:
        progress = state.machines[name]
        stage = str(progress.stage)
        tail = self._timer(name, progress.stage)
        width = max(len(other) for other in state.machines)
        head = f"{_MARKS.get(stage, '•')} {name.ljust(width)}  {stage_words(stage, name, state).ljust(24)}"
        words = state.failures.get(name, "")
        if (
            self._wait is not None
            and name in self._wait.machines
            and progress.stage in (*IN_BATCH, "pending")
        ):
            clock = f"{self._wait.elapsed:.0f}/{self._wait.limit:.0f}s"
            words = f"{self._wait.words} ({clock})"
        return self.row(visible(f"{head}  {words}".rstrip()), tail, _STYLES.get(stage, "bold"))

    def _timer(self, name: str, stage: Stage) -> str:
        if name not in self._began:
            return ""
        if stage in (Stage.DONE, Stage.FAILED):
            self._ended.setdefault(name, time.monotonic())
        else:
            self._ended.pop(name, None)  # it is tried once more: its time goes on
        return duration(self._ended.get(name, time.monotonic()) - self._began[name])
