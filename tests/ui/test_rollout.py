"""How a rollout under way is shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

from rich.console import Console

from stoneware.bake.events import Note, TerraformOutput
from stoneware.cluster.model import Release
from stoneware.compose.model import FailureAction, UpdateConfig
from stoneware.rollout.gate_protocol import wait
from stoneware.rollout.gatekeeper import Answer
from stoneware.rollout.journal import Event
from stoneware.rollout.model import Change, How, Policy, RolloutPlan
from stoneware.rollout.planner import Planned
from stoneware.rollout.state import RolloutState, advance, fold, plan_document
from stoneware.ui.displays import make_rollout_display
from stoneware.ui.progress import Style
from stoneware.ui.rollout import plan_summary, plan_text
from stoneware.ui.rollout_live import RolloutLiveView

OLD, NEW = (
    Release("sha256:" + "a" * 64, "sha256:" + "c" * 64),
    Release("sha256:" + "b" * 64, "sha256:" + "c" * 64),
)


def change(name: str, how: How = How.REPLACE, before: Release | None = OLD) -> Change:
    entry = {"image_ref": "kafka:1"} if before else None
    return Change(name, "kafka", before, NEW, how, ("image changed",), entry, {"image_ref": "kafka:2"})


POLICY = Policy(UpdateConfig(failure_action=FailureAction.ROLLBACK), gates=({"kafka": {}},))
PLAN = RolloutPlan(
    "shop",
    (change("kafka-1"), change("kafka-2", How.RELOAD), change("kafka-3", before=None)),
    {"kafka": POLICY},
    ("kafka-3",),
)


def machines(name: str, *names: str, **more: Any) -> Event:
    return Event(100.0, "r1", name, {"machines": list(names), **more})


STORY = (
    machines("gate", "kafka-3", gate="kafka", reason="t-0 has no leader"),
    machines("stopping", "kafka-3"),
    machines("applying", "kafka-3"),
    machines("applying", "kafka-2"),
    machines("waiting", "kafka-3"),
    machines("monitoring", "kafka-3"),
    machines("done", "kafka-3"),
    machines("held", "kafka-3", reason="the canary is healthy"),
    Event(101.0, "r1", "resumed", {"who": "me"}),
    machines("failed", "kafka-2", reason="kafka-2: machine: is unhealthy", action="rollback"),
    machines("stopping", "kafka-2"),
    machines("done", "kafka-2"),
    Event(102.0, "r1", "paused", {"reason": "asked for"}),
    Event(103.0, "r1", "ended", {"outcome": "rolled back"}),
)
LINES = """\
kafka-3: waits for kafka: t-0 has no leader
kafka-3: stopping
kafka-3: replacing
kafka-2: taking the new configuration on
kafka-3: waiting until it is healthy
kafka-3: healthy, watched
kafka-3: done
kafka-3: the canary is healthy
FAILED: kafka-2: machine: is unhealthy
going back
kafka-2: stopping, on the way back
kafka-2: returned
paused: asked for
warning: mind the gap
terraform: Apply complete!
"""


def told() -> list[tuple[Event, RolloutState]]:
    state = fold([Event(99.0, "r1", "begin", {"plan": plan_document(PLAN), "who": "me"})])
    assert state is not None
    story = []
    for event in STORY:
        state = advance(state, event)
        story.append((event, state))
    return story


def shown(style: Style) -> str:
    stream = io.StringIO()
    with make_rollout_display(style, stream) as display:
        for event, state in told():
            display.event(event, state)
            display.waiting(["kafka-3"], Answer("kafka", wait("soon")), 3, 60)
        display.emit(Note("mind the gap", warning=True))
        display.emit(TerraformOutput("Apply complete!"))
        with display.aside():
            pass
    return stream.getvalue()


def test_plain_lines() -> None:
    assert shown(Style.PLAIN) == LINES
    assert shown(Style.AUTO) == LINES  # the stream is no terminal


def test_nothing_and_json() -> None:
    assert shown(Style.QUIET) == ""
    events = [json.loads(line) for line in shown(Style.JSON).splitlines()]
    assert [event["event"] for event in events] == [event.name for event in STORY]
    assert events[0]["gate"] == "kafka"


def test_a_plan_as_a_table() -> None:
    text = plan_text(Planned(PLAN, ("kafka-1 needs more",)))
    lines = text.splitlines()
    assert lines[0].split() == ["MACHINE", "HOW", "FROM", "TO", "GATES", "WHY"]
    assert lines[1].split()[:5] == ["kafka-1", "replace", "kafka:1", "aaaaaaaaaaaa/ccccccc", "kafka:2"]
    assert "machine, kafka" in lines[1]
    assert lines[3].split()[:3] == ["kafka-3", "canary", "-"]
    assert lines[4] == "blocked: kafka-1 needs more"
    assert plan_summary(Planned(PLAN), 3) == (
        "2 machines to replace, 1 machine to reload; kafka 1 at a time, on failure rollback"
    )
    assert plan_summary(Planned(replace(PLAN, changes=())), 1) == "nothing to do: 1 machine as declared"
    assert plan_text(Planned(replace(PLAN, changes=()))) == ""


def rendered(view: RolloutLiveView, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(view.render())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_live_view() -> None:
    stream = io.StringIO()
    with RolloutLiveView(stream, refresh=False) as view:
        assert rendered(view).strip() == ""
        view.planned(Planned(PLAN), 3)
        for event, state in told()[:5]:
            view.event(event, state)
        assert "waiting until it is healthy" in rendered(view)
        view.waiting(["kafka-3"], Answer("kafka", wait("3 is \x1b[1mout")), 12, 300)
        text = rendered(view)
        assert r"kafka: 3 is \x1b[1mout (12/300s)" in text
        assert "\x1b" not in text
        assert "to come" in text  # kafka-1
        assert "0/3 done" in text
        for event, state in told()[5:]:
            view.event(event, state)
        text = rendered(view)
        assert "✓ kafka-3" in text
        assert "returned" in text
        view.emit(Note("mind the gap"))
    assert "FAILED: kafka-2" in stream.getvalue()
    assert "mind the gap" in stream.getvalue()


def test_the_live_view_with_more_machines_than_lines() -> None:
    names = [f"kafka-{number}" for number in range(200)]
    plan = RolloutPlan("shop", tuple(change(name) for name in names), {"kafka": POLICY})
    state = fold([Event(99.0, "r1", "begin", {"plan": plan_document(plan)})])
    assert state is not None
    event = machines("stopping", "kafka-150")
    with RolloutLiveView(io.StringIO(), refresh=False) as view:
        view.event(event, advance(state, event))
        text = rendered(view)
    assert "kafka-150" in text
    assert "more" in text
    assert len(text.splitlines()) < 60
