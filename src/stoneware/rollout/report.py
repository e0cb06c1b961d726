"""The report of a rollout: one HTML page that needs nothing else, for screens and paper."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.config import decode
from stoneware.dataclass import dataclass
from stoneware.model import guest_protocol
from stoneware.rollout.model import RolloutPlan
from stoneware.rollout.state import Stage
from stoneware.rollout.timeline import Timeline
from stoneware.untrusted.bounded import bounded_json, read_input
from stoneware.untrusted.visible import visible_lines

TEMPLATE = "report.html.j2"
_MOST_LOAD = 256 << 20  # bytes of a probe's file
_WIDTH = 1000.0  # of the chart's plane, in its own units
_STAGES = (Stage.STOPPING, Stage.APPLYING, Stage.WAITING, Stage.MONITORING)


@dataclass(frozen=True)
class Load:
    """One second of a load probe: acknowledged records, and the largest latency in milliseconds."""

    time: float  # seconds since the epoch
    acked: int
    latency: float


def read_load(path: Path) -> list[Load]:
    """Return what a probe wrote: JSON lines with `time`, `acked` and `latency_ms`. Raises ValueError."""
    text = read_input(path, _MOST_LOAD).decode()
    rows = (bounded_json(line) for line in text.splitlines() if line.strip())
    return [
        Load(float(row["time"]), int(row["acked"]), float(row["latency_ms"]))
        for row in rows
        if "acked" in row
    ]


def render(timeline: Timeline, *, load: Sequence[Load] = (), commits: Mapping[str, str] | None = None) -> str:
    """Return the page. `commits` are Git commits by image id."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stoneware.rollout", "."),
        autoescape=True,
        undefined=StrictUndefined,  # a name that is not there is an error, no empty cell
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=_clock, span=_seconds)
    page = environment.get_template(TEMPLATE)
    text = page.render(
        timeline=timeline,
        state=timeline.state,
        machines=_machines(timeline, commits or {}),
        stages=[str(stage) for stage in _STAGES],
        chart=_chart(timeline, load),
        differences=list(config_differences(timeline.state.plan)),
    )
    # Reasons are words of gates and machines, which may hold characters that hide or move text.
    return visible_lines(text)


def _clock(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _machines(timeline: Timeline, commits: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = []
    for change in timeline.state.plan.changes:
        progress = timeline.state.machines[change.machine]
        rows.append(
            {
                "name": change.machine,
                "change": change,
                "before": _release(change.before, commits),
                "after": _release(change.after, commits),
                "stage": str(progress.stage),
                "direction": str(progress.direction),
                "split": timeline.split(change.machine),
                "seconds": sum(span.seconds for span in timeline.of(change.machine)),
                "failure": timeline.state.failures.get(change.machine, ""),
            }
        )
    return rows


def _release(release: Any, commits: Mapping[str, str]) -> dict[str, str]:
    if release is None:
        return {"image": "not there", "commit": "", "config": ""}
    return {
        "image": release.image_id.removeprefix("sha256:")[:12],
        "commit": commits.get(release.image_id, "")[:12],
        "config": release.config_digest.removeprefix("sha256:")[:12],
    }


def config_differences(plan: RolloutPlan) -> Iterable[tuple[str, str, str | None, str | None]]:
    """Yield what changes in the runtime config: machine, key, value before and after (None: not there)."""
    for change in plan.changes:
        before, after = _config(change.entry_before), _config(change.entry_after)
        for key in sorted({*before, *after}):
            if before.get(key) != after.get(key) and change.entry_before is not None:
                yield change.machine, key, before.get(key), after.get(key)


def _config(entry: Mapping[str, Any] | None) -> dict[str, str]:
    return decode(str((entry or {}).get("metadata", {}).get(guest_protocol.CONFIG, "")))


# --- the chart ----------------------------------------------------------------------------------------


def _chart(timeline: Timeline, load: Sequence[Load]) -> dict[str, Any]:
    """Return rectangles, ticks and the load's curve in units of the plane, 1000 wide."""
    # A rollout that was paused at once has a chart, too.
    length = max(timeline.seconds, 1.0)

    def x(time: float) -> float:
        return round(min(max((time - timeline.start) / length, 0.0), 1.0) * _WIDTH, 2)

    shown = {span.machine for span in timeline.spans}
    shown |= {name for wait in timeline.waits for name in wait.machines}
    lanes = [change.machine for change in timeline.state.plan.changes if change.machine in shown]
    boxes = [
        {
            "lane": lanes.index(span.machine),
            "x": x(span.start),
            # At least one unit wide, or a stage of a moment would not be seen.
            "width": max(round(x(span.end) - x(span.start), 2), 1.0),
            "stage": str(span.stage),
            "direction": str(span.direction),
            "title": f"{span.machine}: {span.stage}, {_seconds(span.seconds)}",
        }
        for span in timeline.spans
    ]
    waits = [
        {
            "lane": lanes.index(name),
            "x": x(wait.start),
            "width": max(round(x(wait.end) - x(wait.start), 2), 1.0),
            "title": f"{name} waits {_seconds(wait.seconds)} for {wait.gate}: {wait.reason}",
        }
        for wait in timeline.waits
        for name in wait.machines
    ]
    return {
        "lanes": lanes,
        "boxes": boxes,
        "waits": waits,
        "marks": [{"x": x(mark.time), "kind": mark.kind, "text": mark.text} for mark in timeline.marks],
        "ticks": [{"x": x(timeline.start + at), "text": _seconds(at)} for at in _ticks(length)],
        "load": _curve([item for item in load if timeline.start <= item.time <= timeline.end], x),
    }


def _ticks(length: float) -> list[float]:
    """Return about eight round times."""
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
    step = next((step for step in steps if length / step <= 10), steps[-1])
    return [float(at) for at in range(0, int(length) + 1, step)]


def _curve(load: Sequence[Load], x: Any) -> dict[str, Any] | None:
    if not load:
        return None
    # A load of zeros is drawn as well: these are divisors.
    most, worst = max(item.acked for item in load) or 1, max(item.latency for item in load) or 1.0
    return {
        "acked": " ".join(f"{x(item.time)},{round(100 - 96 * item.acked / most, 2)}" for item in load),
        "latency": " ".join(f"{x(item.time)},{round(100 - 96 * item.latency / worst, 2)}" for item in load),
        "most": most,
        "worst": round(worst),
    }
