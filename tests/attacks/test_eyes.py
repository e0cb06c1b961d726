"""Control characters of others against the operator's terminal: names, labels, messages, console lines."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from stoneware.bake import events as bake_events
from stoneware.cli.commands import bake as bake_command
from stoneware.cli.output import print_json, print_line, print_table, say
from stoneware.cli.program import run
from stoneware.cli.streams import guarded
from stoneware.cluster import events as cluster_events
from stoneware.compose.resolved import to_yaml
from stoneware.errors import InputError
from stoneware.ui.cluster_live import ClusterLiveView
from stoneware.ui.errors import render_error
from stoneware.ui.live import LiveView
from stoneware.ui.progress import Display, Style, make_display
from stoneware.untrusted.bounded import bounded_json
from stoneware.untrusted.visible import json_text, visible, visible_lines, without_sequences
from tests.bake.bake_store import BakeStore
from tests.platforms.memory import MemoryPlatform

EVIL = {
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H",
    "c1": "\x9b31m\x85\x90x\x9c",
    "overwrite": "good\rbad\x08\x0b\x0c",
    "delete": "a\x7f\x00b",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200e\u200f\u061c",
    "lines": "one\u2028two\u2029three",
    "nothing": "a\u200bb\u200dc\ufeffd\u00ade\u2060f\U000e0041\u3164",
    "surrogate": "\ud800 \udcff",
    "markup": "[red]x[/red] [link=file:///etc/passwd]y[/link]",
}
ALL = " ".join(EVIL.values())
DIGITS = "\x1b[" + "9" * 5_000 + "m"  # more than Python makes a number of


def harmless(text: str) -> bool:
    """Say whether a terminal shows the text and does nothing else."""
    text.encode()
    return all(sign.isprintable() or sign == "\n" for sign in text)


def test_everything_is_spelt_out() -> None:
    assert harmless(visible(ALL + "\n\t"))
    assert visible("\x1b\x9b\u202e\U000e0041\udcff\n") == r"\x1b\x9b\u202e\U000e0041\xff\n"
    assert visible_lines("a\n\tb") == "a\n\tb"
    plain = "naïve 日本語 → ✓ \u00a0\u3000 🎉"
    assert visible(plain) == plain


def test_colours_of_build_tools_go_what_they_overwrite_as_well() -> None:
    assert without_sequences("\x1b[32m10%\r\x1b[1m20%\x1b[0m\r") == "20%"
    assert without_sequences("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x07b\x1bc") == "alinkb"
    without_sequences("\x1b[" * 200_000 + "\x1b]" * 200_000)


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.BytesIO]:
    """Give what a terminal gets of standard output and error."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "utf-8", write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        yield raw
    stream.detach()


def test_whatever_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as shown, guarded():
        print_line(ALL)
        print_table(("A", "B"), [(ALL, "x\ny"), *((text, text) for text in EVIL.values())])
        say(ALL)
        print(ALL)  # whoever prints, however
        sys.stdout.writelines([ALL])
        sys.stderr.write(render_error(InputError(ALL, details=ALL, resolution=ALL, location=ALL)))
    text = shown.getvalue().decode()
    assert harmless(text)
    assert "[red]x[/red]" in text


def test_an_error_stays_one_error() -> None:
    text = render_error(InputError("name 'a\nerror: b'", details="c\r\nd\u2028→ rm -rf /", resolution="e"))
    assert text == "error: name 'a\n  error: b'\n  c\n  d\\u2028→ rm -rf /\n→ e\n"
    coloured = render_error(InputError(ALL, resolution=ALL), colour=True)
    assert harmless(coloured.replace("\x1b[1;31m", "").replace("\x1b[1m", "").replace("\x1b[0m", ""))


def test_errors_of_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bake_command, "open_store", lambda: BakeStore(tmp_path))  # not this computer's
    monkeypatch.setattr(bake_command, "open_platform", lambda _store: MemoryPlatform())
    with terminal(monkeypatch) as shown:
        word = ALL.replace("\0", "").replace("\ud800", "")  # what an argument cannot be
        for words in (
            [word],
            ["ps", f"--{word}"],
            ["ps", "--filter", word, word, word],
            ["run", "--stop-timeout", word, "x"],
            ["bake", "-f", word, "/nowhere"],
            ["config", "-f", word],
            ["render", "--template", word],
        ):
            assert run(words) == 2, words
    assert harmless(shown.getvalue().decode())


def test_json_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {ALL: [ALL, *EVIL.values()]}
    with terminal(monkeypatch) as shown, guarded():
        print_json(value)
    text = shown.getvalue().decode()
    assert harmless(text)
    assert json.loads(text) == bounded_json(json.dumps(value))
    assert json.loads(json_text(EVIL)) == bounded_json(json.dumps(EVIL))


def test_yaml_stays_yaml() -> None:
    document = {key: text for key, text in EVIL.items() if key != "surrogate"}
    text = to_yaml(document)
    assert harmless(text)
    assert yaml.safe_load(text) == document


def bake_views(stream: io.StringIO) -> list[Display]:
    return [make_display(style, stream) for style in (Style.PLAIN, Style.JSON, Style.LIVE)]


BAKE: list[bake_events.Event] = [
    bake_events.StepStarted("web", 1, 2, 3, ALL, ALL),
    *(bake_events.StepOutput("web", 1, [text]) for text in (*EVIL.values(), DIGITS)),
    bake_events.StepOutput("web", 1, [*EVIL.values(), DIGITS]),
    bake_events.CheckResult("x", "warn", "fail", ALL),
    bake_events.Note(ALL, warning=True),
    bake_events.TerraformOutput(ALL),
    bake_events.StepFailed("web", 1, 1.0, 1),
]


def test_progress_lines() -> None:
    stream = io.StringIO()
    for display in bake_views(stream)[:2]:
        with display:
            for event in BAKE:
                display.emit(event)
    assert harmless(stream.getvalue())


def drawn(view: LiveView | ClusterLiveView) -> str:
    stream = io.StringIO()
    Console(file=stream, width=400, color_system=None).print(view.render())
    return stream.getvalue()


def test_live_views() -> None:
    stream = io.StringIO()
    view = LiveView(stream, refresh=False)
    for event in BAKE[:3]:
        view.emit(event)
    assert harmless(drawn(view))
    for event in BAKE[3:]:
        view.emit(event)
    cluster = ClusterLiveView(stream, refresh=False)
    cluster.emit(cluster_events.MachineProgress("web-1", ALL, ALL, ALL))
    assert harmless(drawn(cluster))
    cluster.emit(cluster_events.MachineFailed("web-1", "create", ALL, 1.0))
    cluster.emit(cluster_events.Note(ALL, warning=True))
    assert harmless(drawn(cluster))
    cluster.__exit__()
    assert harmless(without_sequences(stream.getvalue()).replace("\r", ""))
