"""What a builder's console says, told to the reporter; and what of it the driver asks for."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from operator import itemgetter

from stoneware.bake.console import CheckLine, ConsoleReader, LeftLine, NoteLine, OutputLines, StepEnd
from stoneware.bake.events import CheckResult, Note, Reporter, StepOutput
from stoneware.bake.lost_files import left_in_memory
from stoneware.bake.plan import PlannedStep

_TAIL = 20  # lines of a failed step's output that its error shows
_MOST_EARLY = 10_000  # lines of a step that are kept until its agent's report comes
_MOST_NOTES = 200
_MOST_CHECKS = 100


class ConsoleEvents:
    """Follows one builder's console. All of it is bounded, for what prints it may print anything."""

    def __init__(
        self,
        reporter: Reporter,
        *,
        token: str,
        stage: str,
        steps: Mapping[int, PlannedStep],
        told: Sequence[str] = (),
    ) -> None:
        """Follow the console of a stage's builder; `told` are the warnings of the Machinefile's text."""
        self._reader = ConsoleReader(token)
        self._reporter = reporter
        self._stage = stage
        self._steps = steps
        self._told = told
        self.begun = 0  # the last step that has been told of
        # What a step has said before it was told of: its number and a line.
        self._early: deque[tuple[int, str]] = deque(maxlen=_MOST_EARLY)
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._notes = 0
        self.ended: set[int] = set()  # the steps of which all that they printed is here
        self.checks: list[CheckLine] = []
        self.left: dict[int, str] = {}  # the paths that a step has left in memory

    @property
    def tail(self) -> Sequence[str]:
        """Return the last lines of the step that has begun."""
        return self._tail

    def last_lines(self) -> list[str]:
        """Return the last lines of all: of the machine, then of the step that has begun."""
        return [*self._reader.other, *self._tail][-_TAIL:]

    def begin(self, number: int) -> None:
        """Take a step for begun, and tell what has come of it before."""
        self.begun = number
        self._tail.clear()
        for which, early in itertools.groupby(self._early, itemgetter(0)):
            self._output(which, [text for _, text in early])
        self._early.clear()

    def feed(self, data: bytes) -> None:
        """Take a piece of the console."""
        for line in self._reader.feed(data):
            match line:
                case OutputLines(step, texts) if step in self._steps and step > self.begun:
                    # The agent's report is still on its way.
                    self._early.extend((step, text) for text in texts)
                case OutputLines(step, texts):
                    self._output(step, texts)
                case StepEnd(step, _):
                    self.ended.add(step)
                case CheckLine(name, severity, outcome, detail) if len(self.checks) < _MOST_CHECKS:
                    self.checks.append(line)
                    self._reporter.emit(CheckResult(name, severity, outcome, detail))
                case LeftLine(step, paths) if step in self._steps:
                    self.left[step] = paths
                    for note in left_in_memory(self._steps[step].location, paths, self._told):
                        self._reporter.emit(note)
                case NoteLine(text) if self._notes < _MOST_NOTES:
                    self._notes += 1
                    self._reporter.emit(Note(text))

    def _output(self, number: int, texts: Sequence[str]) -> None:
        self._tail.extend(texts)
        self._reporter.emit(StepOutput(self._stage, number, texts))
