"""The time line of a rollout, and the page that shows it."""

from __future__ import annotations

import dataclasses
import html.parser
import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stoneware.config import encode
from stoneware.rollout.journal import Event
from stoneware.rollout.report import Load, config_differences, read_load, render
from stoneware.rollout.state import Stage
from stoneware.rollout.timeline import Timeline, timeline
from tests.rollout.scenario import make_world, scenarios

CASES = dict(scenarios())
ROLLED_BACK = "kafka: the new broker crashes after the leader was replaced too"


def _timeline(name: str, directory: Path, **changes: Any) -> Timeline:
    world = make_world(CASES[name], directory)
    if changes:
        plan = dataclasses.replace(
            world.plan, changes=tuple(dataclasses.replace(item, **changes) for item in world.plan.changes)
        )
        world = dataclasses.replace(world, plan=plan)
    world.run()
    found = timeline(world.journal.of("r1"), world.fleet.clock.now)
    assert found is not None
    return found


@pytest.mark.pure
def test_spans_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    found = _timeline(ROLLED_BACK, tmp_path)
    stages = [Stage.STOPPING, Stage.APPLYING, Stage.WAITING, Stage.MONITORING]
    spans = found.of("kafka-2")
    assert [span.stage for span in spans] == stages * 2
    assert [span.direction.value for span in spans] == ["forward"] * 4 + ["back"] * 4
    for one, other in itertools.pairwise(spans[:4]):
        assert one.end == other.start
    assert found.split("kafka-2") == {"stopping": 2.0, "applying": 1.0, "waiting": 9.0, "monitoring": 10.0}
    assert found.of("kafka-1") == ()
    assert [mark.kind for mark in found.marks] == ["failed", "ended"]


@pytest.mark.pure
def test_waits_at_gates_have_their_reason_and_length(tmp_path: Path) -> None:
    found = _timeline(ROLLED_BACK, tmp_path)
    longest = max(found.waits, key=lambda wait: wait.seconds)
    assert longest.gate == "machine"
    assert "kafka-2 has failed" in longest.reason
    assert longest.seconds == 60.0
    assert all(found.start <= wait.start <= wait.end <= found.end for wait in found.waits)


@pytest.mark.pure
def test_what_is_under_way_ends_now(tmp_path: Path) -> None:
    world = make_world(CASES["basic: three machines, no gate but their health"], tmp_path)
    state, _ = world.run(kill_after=3)
    found = timeline(world.journal.of("r1"), world.fleet.clock.now + 7)
    assert found is not None
    assert found.end == world.fleet.clock.now + 7
    assert found.spans[-1].end == found.end
    assert state.batch == ("kafka-1",)


@pytest.mark.pure
def test_what_is_finalized_a_day_later_makes_no_rollout_longer(tmp_path: Path) -> None:
    world = make_world(CASES["basic: three machines, no gate but their health"], tmp_path)
    world.run()
    events = world.journal.of("r1")
    later = Event(events[-1].time + 86_400, "r1", "finalized", {"service": "kafka"})

    found = timeline([*events, later], later.time)

    assert found is not None
    assert found.end == events[-1].time
    assert found.marks[-1].kind == "finalized"


@pytest.mark.pure
def test_no_events_no_time_line() -> None:
    assert timeline([], 0.0) is None


class _Text(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(page: str) -> _Text:
    parser = _Text()
    parser.feed(page)
    return parser


@pytest.mark.pure
def test_the_page_stands_alone_and_tells_all(tmp_path: Path) -> None:
    page = _read(render(_timeline(ROLLED_BACK, tmp_path), commits={"new": "abcdef0123456789"}))
    assert page.links == []
    assert "script" not in page.tags
    words = re.sub(r"\s+", " ", page.text)
    for text in ("rolled back", "kafka-1", "kafka-3", "went back", "catches up", "commit abcdef012345"):
        assert text in words


@pytest.mark.pure
def test_the_difference_of_the_config_is_shown_as_it_is(tmp_path: Path) -> None:
    before = {"metadata": {"stoneware-config": encode({"A": "1", "GONE": "x", "SAME": "s"})}}
    after = {"metadata": {"stoneware-config": encode({"A": "<b>2</b>", "NEW": "", "SAME": "s"})}}
    found = _timeline(
        "basic: three machines, no gate but their health",
        tmp_path,
        entry_before={**before, "image": "old", "config": "c1"},
        entry_after={**after, "image": "new", "config": "c1"},
    )
    first = [row for row in config_differences(found.state.plan) if row[0] == "kafka-1"]
    assert first == [
        ("kafka-1", "A", "1", "<b>2</b>"),
        ("kafka-1", "GONE", "x", None),
        ("kafka-1", "NEW", None, ""),
    ]
    page = render(found)
    assert "<b>2</b>" not in page
    assert "&lt;b&gt;2&lt;/b&gt;" in page


@pytest.mark.pure
def test_a_probe_gives_the_curve(tmp_path: Path) -> None:
    rows = tmp_path / "probe.jsonl"
    rows.write_text(
        '{"time": 1.5, "acked": 300, "latency_ms": 12.5}\n\n{"time": 2, "acked": 0, "latency_ms": 0}\n'
    )
    assert read_load(rows) == [Load(1.5, 300, 12.5), Load(2.0, 0, 0.0)]
    found = _timeline(ROLLED_BACK, tmp_path)
    load = [Load(found.start + second, 300, 10.0) for second in range(int(found.seconds))]
    assert "<polyline" in render(found, load=load)
    assert "<polyline" not in render(found)


@pytest.mark.tool
def test_a_browser_shows_it_on_screen_and_paper(tmp_path: Path, artifacts: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium on this computer")
    page = tmp_path / "report.html"
    page.write_text(render(_timeline(ROLLED_BACK, tmp_path)))
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    common += ["--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync"]
    common += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1700"]
    picture, paper = artifacts / "rollout-report.png", artifacts / "rollout-report.pdf"
    for option in (f"--screenshot={picture}", f"--print-to-pdf={paper}"):
        subprocess.run([*common, option, page.as_uri()], check=True, capture_output=True, timeout=120)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert _colours(picture) > 20  # not an empty page
    assert paper.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) in (1, 2, 3)


def _colours(picture: Path) -> int:
    """Count the values of bytes in the picture's data: few where it is all one colour."""
    import zlib

    raw = picture.read_bytes()
    data, position = b"", 8
    while position < len(raw):
        length = int.from_bytes(raw[position : position + 4])
        if raw[position + 4 : position + 8] == b"IDAT":
            data += raw[position + 8 : position + 8 + length]
        position += length + 12
    return len(set(zlib.decompress(data)))
