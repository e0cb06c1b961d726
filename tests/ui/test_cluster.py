from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from stoneware.cluster import events
from stoneware.cluster.model import Action, ClusterPlan, Step
from stoneware.ui.cluster import plan_summary, plan_text
from stoneware.ui.cluster_live import ClusterLiveView
from stoneware.ui.displays import make_cluster_display
from stoneware.ui.prefixed import Prefixed
from stoneware.ui.progress import Style

PLAN = ClusterPlan(
    "shop",
    (
        Step("network", "shop-default", Action.CREATE, ("is not there",)),
        Step("machine", "db-1", Action.NONE, ()),
        Step("machine", "web-1", Action.REPLACE, ("failed: no disk", "other image")),
        Step("machine", "web-2", Action.CREATE, ("is not there",)),
    ),
    (("db-1",), ("web-1", "web-2")),
)
STORY: tuple[events.Event, ...] = (
    events.Note("COLOUR is not used", warning=True),
    events.PlanMade(PLAN),
    events.MachineStarted("web-1", "replace"),
    events.MachineProgress("web-1", "creating", ""),
    events.ResourceFinished("network", "shop-default", "created"),
    events.TerraformOutput("Apply complete!"),
    events.MachineProgress("web-1", "booting", "none", "Starting \x1b[1mnginx\x1b[0m"),
    events.MachineProgress("web-1", "booting", "none", "Started nginx"),
    events.MachineProgress("web-1", "running", "starting", "Started nginx"),
    events.MachineFinished("web-1", "replace", "healthy", 62.5),
    events.MachineFailed("web-2", "running", "is unhealthy", 3.0),
)
PLAIN = """\
warning: COLOUR is not used
ACTION    KIND      NAME           WHY
create    network   shop-default   is not there
replace   machine   web-1          failed: no disk; other image
create    machine   web-2          is not there
web-1: replace
web-1: creating
network shop-default: created
terraform: Apply complete!
web-1: booting
web-1: running, starting
web-1: healthy (1m02s)
web-2: FAILED: is unhealthy (3.0s)
"""


def shown(style: Style) -> str:
    stream = io.StringIO()
    with make_cluster_display(style, stream) as display:
        for event in STORY:
            display.emit(event)
    return stream.getvalue()


def test_plain_lines_say_each_change_once() -> None:
    assert shown(Style.PLAIN) == PLAIN
    assert shown(Style.AUTO) == PLAIN  # no terminal


def test_json_has_every_event() -> None:
    lines = [json.loads(line) for line in shown(Style.JSON).splitlines()]
    assert [line["event"] for line in lines][:3] == ["note", "plan_made", "machine_started"]
    assert lines[1]["plan"]["steps"][2]["action"] == "replace"
    assert lines[-1] | {"time": 0} == {
        "event": "machine_failed", "time": 0, "name": "web-2", "phase": "running", "reason": "is unhealthy",
        "seconds": 3.0,
    }  # fmt: skip


def test_quiet_is_quiet() -> None:
    assert shown(Style.QUIET) == ""


def test_the_live_view_has_a_row_per_machine() -> None:
    stream = io.StringIO()
    with ClusterLiveView(stream, refresh=False) as view:
        for event in STORY[:8]:
            view.emit(event)
        console = Console(file=io.StringIO(), width=100)
        console.print(view.render())
        during = console.file.getvalue()  # type: ignore[attr-defined]
        for event in STORY[8:]:
            view.emit(event)
    assert "• web-1  booting" in during
    assert "Started nginx" in during
    assert "0/1 done" in during
    printed = stream.getvalue()
    assert "✓ web-1  healthy" in printed
    assert "✗ web-2  is unhealthy" in printed
    assert "2/2 done" in printed
    assert "warning: COLOUR is not used" in printed
    assert "nginx" not in printed.rpartition("✓ web-1")[2]  # a machine that is up needs no console


def test_the_live_view_draws_nothing_before_the_first_machine() -> None:
    stream = io.StringIO()
    with ClusterLiveView(stream, refresh=False) as view:
        view.emit(events.PlanMade(PLAN))
    assert "done" not in stream.getvalue()
    assert "web-1" in stream.getvalue()
    assert "db-1" not in stream.getvalue()  # as declared


@pytest.mark.parametrize(
    "event",
    [events.MachineStarted("web-1", "create"), events.MachineProgress("web-1", "booting", "")],
    ids=["started", "known by its progress"],
)
def test_the_live_view_draws_from_the_first_machine_on(event: events.Event) -> None:
    stream = io.StringIO()
    with ClusterLiveView(stream, refresh=False) as view:
        view.emit(event)
    assert "• web-1" in stream.getvalue()
    assert "0/1 done" in stream.getvalue()


def test_more_machines_than_lines() -> None:
    stream = io.StringIO()
    with ClusterLiveView(stream, refresh=False) as view:
        for number in range(60):
            view.emit(events.MachineStarted(f"web-{number}", "create"))
            view.emit(events.MachineFinished(f"web-{number}", "create", "running", 1.0))
        view.emit(events.MachineFailed("web-59", "failed", "failed", 1.0))
        console = Console(file=io.StringIO(), width=80)
        console.print(view.render())
        text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "more" in text
    assert "✗ web-59" in text


def test_a_plan_in_words() -> None:
    assert plan_summary(PLAN) == "1 machine to create, 1 network to create, 1 machine to replace"
    nothing = ClusterPlan("shop", (PLAN.steps[1],), (("db-1",),))
    assert plan_summary(nothing) == "nothing to do: 1 machine as declared"
    assert "db-1" in plan_text(PLAN)
    assert plan_text(nothing, every=False) == ""


def test_lines_of_several_machines_do_not_mix() -> None:
    stream = io.BytesIO()
    lines = Prefixed(stream, {"c-a-1": "a-1", "c-long-1": "long-1"}, colour=False)
    lines.write("c-a-1", b"one\r\ntw")
    lines.write("c-long-1", b"other\n")
    lines.write("c-a-1", b"o\nrest")
    lines.finish()
    assert stream.getvalue() == b"a-1    | one\nlong-1 | other\na-1    | two\na-1    | rest\n"


def test_each_machine_has_a_colour() -> None:
    stream = io.BytesIO()
    lines = Prefixed(stream, {"a": "a", "b": "b"}, colour=True)
    lines.write("a", b"1\n")
    lines.write("b", b"2\n")
    first, second = stream.getvalue().splitlines()
    assert first.startswith(b"\x1b[36ma | \x1b[0m1")
    assert second.startswith(b"\x1b[33mb | ")
