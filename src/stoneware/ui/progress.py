"""How a bake is shown while it runs: plain lines, JSON lines, nothing, or the live view on a terminal."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol, Self, TextIO, TypeVar

from stoneware.bake import events
from stoneware.ui.hints import completed_quotes
from stoneware.ui.text import duration
from stoneware.untrusted.visible import LINES, is_visible, json_text, visible, without_sequences


class Style(StrEnum):
    """The values of `--progress`."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class Display(events.Reporter, AbstractContextManager[Any], Protocol):
    """A reporter that is entered before the first event and left after the last."""


class Lines:
    """A display that writes as it is told and needs no setting up."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def emit(self, event: Any) -> None:
        """Show nothing: the quiet display."""

    def say(self, lines: Iterable[str]) -> None:
        """Write lines."""
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()


class JsonLines(Lines):
    """One JSON object per event and line: `event`, `time` (seconds since the epoch), the event's fields."""

    def emit(self, event: Any) -> None:
        """Write the event."""
        document: dict[str, Any] = {"event": _snake(type(event).__name__), "time": round(time.time(), 3)}
        document |= dataclasses.asdict(event)
        if not isinstance(event, events.StepOutput):
            self.say([json_text(document)])
            return
        texts = document.pop("texts")  # an object for each line
        begin = json_text(document)[:-1]  # once for all lines: a loud step has many
        self.say(f'{begin}, "text": {json_text(text)}}}' for text in texts)


class PlainLines(Lines):
    """Lines as in BuildKit's plain progress: `#3 [web 2/5] RUN …`, `#3 1.234 output`, `#3 DONE 4.2s`."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._numbers: dict[tuple[str, int | str], int] = {}
        self._began: dict[int, float] = {}

    def emit(self, event: events.Event) -> None:
        """Write the event's lines."""
        if isinstance(event, events.StepOutput):
            self._output(event)
        else:
            self.say(visible(line, keep="\t") for line in self._lines(event))

    def _output(self, event: events.StepOutput) -> None:
        number = self._number((event.stage, event.index))
        begin = f"#{number} {self._clock() - self._began[number]:.3f} "
        texts = event.texts
        # One look at all lines: most are plain, and a loud step has hundreds of thousands of them.
        if not is_visible("\n".join(texts), LINES):
            texts = [visible(without_sequences(text), keep="\t") for text in texts]
        self.say(begin + text for text in texts)

    def _lines(self, event: events.Event) -> list[str]:
        match event:
            case events.StepCached(stage, index, total, _, text):
                number = self._begin((stage, index))
                return [f"#{number} [{stage} {index}/{total}] {text}", f"#{number} CACHED"]
            case events.StepStarted(stage, index, total, _, text, reason):
                number = self._begin((stage, index))
                return [f"#{number} [{stage} {index}/{total}] {text}", f"#{number} because {reason}"]
            case events.PhaseStarted(name, text):
                return [f"#{self._begin(('', name))} [{name}] {text}"]
            case events.CheckResult() | events.Note() | events.TerraformOutput():
                return _remarks(event)
        return self._going_on(event)

    def _going_on(self, event: events.Event) -> list[str]:
        match event:
            case events.StepFinished(stage, index, seconds):
                return [f"#{self._number((stage, index))} DONE {duration(seconds)}"]
            case events.StepFailed(stage, index, seconds, code):
                number = self._number((stage, index))
                return [f"#{number} ERROR exit code {code} after {duration(seconds)}"]
            case events.PhaseFinished(name, seconds):
                return [f"#{self._number(('', name))} DONE {duration(seconds)}"]
        return []

    def _begin(self, key: tuple[str, int | str]) -> int:
        # A phase comes once per stage: each time it is a new thing to show.
        number = self._numbers[key] = max(self._numbers.values(), default=0) + 1
        self._began[number] = self._clock()
        return number

    def _number(self, key: tuple[str, int | str]) -> int:
        return self._numbers[key] if key in self._numbers else self._begin(key)


def _remarks(event: events.Event) -> list[str]:
    match event:
        case events.CheckResult(name, severity, outcome, detail) if outcome != "pass":
            return [f"check {name}: {outcome} ({severity}) {detail}".rstrip()]
        case events.Note(text, warning):
            return [f"warning: {text}" if warning else text]
        case events.TerraformOutput(text):
            return [f"terraform: {text}"]
    return []


def remark_lines(event: object) -> list[str]:
    """Return what is said besides the machines of a cluster, as lines."""
    match event:
        case events.Note(text, warning):
            return [completed_quotes(f"warning: {text}" if warning else text)]
        case events.TerraformOutput(text):
            return [f"terraform: {text}"]
    return []


def settled(style: Style, stream: TextIO) -> Style:
    """Return what `auto` comes to: live on a terminal and plain elsewhere."""
    if style is not Style.AUTO:
        return style
    # TERM=dumb, as in editors' shells, cannot move the cursor.
    capable = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Style.LIVE if capable else Style.PLAIN


D = TypeVar("D")


def choose_display(
    style: Style,
    stream: TextIO,
    *,
    live: Callable[[], Callable[[TextIO], D]],
    json: Callable[[TextIO], D],
    plain: Callable[[TextIO], D],
    quiet: Callable[[TextIO], D],
) -> D:
    """Return the display of a style; `auto` is live on a terminal and plain elsewhere.

    `live` loads its class, with the library that draws on terminals.
    """
    style = settled(style, stream)
    if style is Style.LIVE:
        return live()(stream)
    kinds = {Style.JSON: json, Style.PLAIN: plain}
    return kinds.get(style, quiet)(stream)


def make_display(style: Style, stream: TextIO) -> Display:
    """Return the display of a bake."""

    def live() -> Callable[[TextIO], Display]:
        from stoneware.ui.live import LiveView

        return LiveView

    return choose_display(style, stream, live=live, json=JsonLines, plain=PlainLines, quiet=Lines)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
