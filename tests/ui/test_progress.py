from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from stoneware.bake import events
from stoneware.ui.live import LiveView
from stoneware.ui.progress import JsonLines, Lines, PlainLines, Style, make_display

BAKE: tuple[events.Event, ...] = (
    events.StageStarted("web", "debian:12", 3, 1),
    events.PhaseStarted("builder", "boot a machine"),
    events.PhaseFinished("builder", 0.5),
    events.StepCached("web", 1, 3, 2, "RUN apt-get update"),
    events.StepStarted("web", 2, 3, 3, "RUN make", "the step before it ran"),
    events.StepOutput("web", 2, ["compiling\ta\x7f", "more", "\x1b[1mdone"]),
    events.StepFinished("web", 2, 62.5),
    events.StepStarted("web", 3, 3, 4, "RUN false", "never run"),
    events.StepFailed("web", 3, 0.25, 1),
    events.CheckResult("machine-id", "error", "pass", ""),
    events.CheckResult("logs", "warning", "fail", "/var/log/x"),
    events.Note("careful", warning=True),
    events.Note("tidied up"),
    events.TerraformOutput("Apply complete!"),
)

PLAIN = """\
#1 [builder] boot a machine
#1 DONE 0.5s
#2 [web 1/3] RUN apt-get update
#2 CACHED
#3 [web 2/3] RUN make
#3 because the step before it ran
#3 1.000 compiling\ta\\x7f
#3 1.000 more
#3 1.000 done
#3 DONE 1m02s
#4 [web 3/3] RUN false
#4 because never run
#4 ERROR exit code 1 after 0.2s
check logs: fail (warning) /var/log/x
warning: careful
tidied up
terraform: Apply complete!
"""


def ticking() -> Iterator[float]:
    yield from (float(second) for second in range(1000))


def show(display: Lines) -> None:
    with display:
        for event in BAKE:
            display.emit(event)


def test_plain_lines() -> None:
    stream = io.StringIO()
    ticks = ticking()
    show(PlainLines(stream, clock=lambda: next(ticks)))
    assert stream.getvalue() == PLAIN


def test_a_phase_of_a_later_stage_has_a_number_of_its_own() -> None:
    stream = io.StringIO()
    display = PlainLines(stream)
    for _ in range(2):
        display.emit(events.PhaseStarted("seal", "clean up"))
        display.emit(events.PhaseFinished("seal", 1))
    assert stream.getvalue() == "#1 [seal] clean up\n#1 DONE 1.0s\n#2 [seal] clean up\n#2 DONE 1.0s\n"


def test_json_lines_hold_every_event() -> None:
    stream = io.StringIO()
    show(JsonLines(stream))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == len(BAKE) + 2, "one for each line of output"
    assert {"event", "time", "stage", "base", "total", "cached"} == set(lines[0])
    assert lines[5] | {"time": 0} == {
        "event": "step_output", "time": 0, "stage": "web", "index": 2, "text": "compiling\ta\x7f",
    }  # fmt: skip


def test_quiet_shows_nothing() -> None:
    stream = io.StringIO()
    show(Lines(stream))
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("style", "stream", "term", "kind"),
    [
        (Style.AUTO, io.StringIO(), "xterm", PlainLines),
        (Style.AUTO, Terminal(), "xterm", LiveView),
        (Style.AUTO, Terminal(), "dumb", PlainLines),
        (Style.PLAIN, Terminal(), "xterm", PlainLines),
        (Style.JSON, Terminal(), "xterm", JsonLines),
        (Style.LIVE, io.StringIO(), "xterm", LiveView),
        (Style.QUIET, Terminal(), "xterm", Lines),
    ],
)
def test_the_style_decides(
    style: Style, stream: io.StringIO, term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(make_display(style, stream)) is kind


def drawn(view: LiveView) -> list[str]:
    with view._console.capture() as capture:
        view._console.print(view.render())
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_live_view_shows_rows_and_the_end_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "24")
    view = LiveView(io.StringIO(), refresh=False)
    for event in BAKE[:6]:
        view.emit(event)
    for number in range(20):
        view.emit(events.StepOutput("web", 2, [f"\x1b[31mline {number}\x1b[0m\x1b[2K\x07"]))
    lines = drawn(view)
    assert lines[0].startswith("✓ [builder] boot a machine")
    assert lines[0].endswith("0.5s")
    assert lines[1].endswith("cached")
    assert lines[2].startswith("• [web 2/3] RUN make")
    assert lines[3:9] == [f"    line {number}" for number in range(14, 20)]
    view.emit(events.StepFinished("web", 2, 3.0))
    assert [line for line in drawn(view) if "line 19" in line] == []


def test_the_live_view_fits_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "16")
    view = LiveView(io.StringIO(), refresh=False)
    for number in range(1, 41):
        view.emit(events.StepCached("web", number, 41, number, "RUN a very long instruction " * 5))
    view.emit(events.StepStarted("web", 41, 41, 41, "RUN last", "never run"))
    for _ in range(9):
        view.emit(events.StepOutput("web", 41, ["x" * 200]))
    lines = drawn(view)
    assert len(lines) <= 16
    assert max(map(len, lines)) <= 40
    assert any("RUN last" in line for line in lines)


def test_the_live_view_prints_remarks_and_failures() -> None:
    stream = io.StringIO()
    with LiveView(stream, refresh=False) as view:
        for event in BAKE:
            view.emit(event)
    shown = stream.getvalue()
    assert "warning: careful" in shown
    assert "check logs: fail" in shown
    assert "✗ [web 3/3] RUN false" in shown
