"""Reading a builder's console: the build agent's lines among whatever else a machine prints."""

from __future__ import annotations

import re
from collections import deque

from stoneware.dataclass import dataclass
from stoneware.guest.checks import CHECKS


@dataclass(frozen=True)
class OutputLines:
    """Lines that a step printed, one after the other."""

    step: int
    texts: list[str]


@dataclass(frozen=True)
class StepEnd:
    """The agent's word that a step has ended; all its output came before."""

    step: int
    exit_code: int


@dataclass(frozen=True)
class CheckLine:
    """One leak check's result."""

    name: str
    severity: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class NoteLine:
    """A remark of the agent."""

    text: str


@dataclass(frozen=True)
class LeftLine:
    """The paths that a step has left in memory, blanks between them."""

    step: int
    paths: str


ConsoleLine = OutputLines | StepEnd | CheckLine | NoteLine | LeftLine

_END = re.compile(r"([0-9]{1,6}) exit ([0-9]{1,3})")
_AT_ONCE = 1000  # lines of output that are passed on together
_KEPT = 200  # lines that are not the agent's
_LONGEST = 64 * 1024  # bytes of a line: four times what the agent lets through
_MOST_TEXT = 2000  # characters of what an agent remarks or a check has found

_SEVERITIES = {check.name: check.severity for check in CHECKS}
_OUTCOMES = ("pass", "fail", "skip")


class ConsoleReader:
    """Turns console bytes, in pieces of any size, into the agent's lines; `other` keeps the rest."""

    def __init__(self, token: str) -> None:
        self._mark = f"{token} "
        self._rest = b""
        self.other: deque[str] = deque(maxlen=_KEPT)

    def feed(self, data: bytes) -> list[ConsoleLine]:
        """Return the agent's lines that are complete with this piece."""
        first, *more = data.split(b"\n")
        if not more:
            # A builder may print without ever ending a line.
            self._rest += first[: _LONGEST - len(self._rest)]
            return []
        *whole, rest = [self._rest + first, *more]
        self._rest = rest[:_LONGEST]
        lines: list[ConsoleLine] = []
        last: OutputLines | None = None
        for raw in whole:
            # A console has a carriage return before each newline.
            line = self._parse(raw[:_LONGEST].decode(errors="replace").rstrip("\r"))
            if isinstance(line, tuple):  # a step may print millions of lines
                step, text = line
                if last is None or last.step != step or len(last.texts) == _AT_ONCE:
                    last = OutputLines(step, [])
                    lines.append(last)
                last.texts.append(text)
            elif line is not None:
                last = None
                lines.append(line)
        return lines

    def _parse(self, text: str) -> ConsoleLine | tuple[int, str] | None:
        """Return what a line says; of a line of output its step and its text."""
        at = text.find(self._mark)
        if at < 0:
            self.other.append(text)
            return None
        body = text[at + len(self._mark) :]
        number, bar, said = body.partition("|")
        # int() makes no number of thousands of digits.
        if bar and len(number) <= 6 and number.isascii() and number.isdigit():
            return int(number), said.removeprefix(" ")
        end = _END.fullmatch(body)
        return StepEnd(int(end[1]), int(end[2])) if end else _parse_word(body)


def _parse_word(body: str) -> ConsoleLine | None:
    word, _, rest = body.partition(" ")
    rest = rest[:_MOST_TEXT]
    if word == "note":
        return NoteLine(rest)
    step, _, paths = rest.partition(" ")
    if word == "left" and re.fullmatch(r"[0-9]{1,6}", step):
        return LeftLine(int(step), paths)
    # A builder may print anything: only a check that exists counts, with its own severity.
    if word == "check" and rest.count(" ") >= 2:
        name, severity, outcome, *detail = rest.split(" ", 3)
        if _SEVERITIES.get(name) == severity and outcome in _OUTCOMES:
            return CheckLine(name, severity, outcome, detail[0] if detail else "")
    return None
