"""Rollouts of a Kafka cluster back and forth under load, each with its driver killed at a random point."""

from __future__ import annotations

import math
import os
import random
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.harness import Row, Section, show, timed_rows
from bench.kafka_cluster import NEW, OLD, KafkaCluster, load
from bench.place import Place
from stoneware.rollout.journal import Event
from stoneware.rollout.timeline import GateWait, Timeline, timeline

RATE = 1000.0
MONITOR = "5s"
LINES = 16  # of the journal of a rollout of three machines, at least
GAP_LIMIT = 2.0  # what a managed service publishes for its own rolling updates
OWN_LIMIT = 3.0
PARTS = ("stop", "replace", "boot", "broker starts", "catch-up", "monitor")
_OWN = "what Stoneware adds to a machine"


@dataclass
class Found:
    """What all rollouts came to. `seconds` of each part are of machines whose driver was not killed."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in (*PARTS, _OWN)})
    killed: list[str] = field(default_factory=list)

    def add(self, parts: Mapping[str, float]) -> None:
        for part, seconds in parts.items():
            self.seconds[part].append(seconds)

    def total(self, key: str) -> int:
        return sum(int(report[key]) for report in self.reports)


def measure(place: Place, _repeats: int) -> Section:
    """Roll BENCH_ROLLOUTS times (20); BENCH_SEED repeats where the drivers are killed."""
    count = int(os.environ.get("BENCH_ROLLOUTS", "20"))
    seed = os.environ.get("BENCH_SEED") or secrets.token_hex(4)
    dice = random.Random(seed)  # noqa: S311
    cluster = KafkaCluster(place.home, {**place.env, "MONITOR": MONITOR})
    found = Found()
    with TemporaryDirectory(prefix="stoneware-bench-") as directory:
        try:
            for version in (OLD, NEW):
                cluster.bake(version)
            cluster.run("up", "--yes", version=OLD)
            for turn in range(count):
                _roll(cluster, turn, dice.randint(1, LINES), found, Path(directory))
        finally:
            cluster.run("rollout", "abort", check=False)
            cluster.run("down", "--volumes", "--yes", check=False)
    return _section(found, seed)


def _roll(cluster: KafkaCluster, turn: int, line: int, found: Found, directory: Path) -> None:
    """Roll the cluster to the other version; the driver is killed at a line of the journal."""
    version = OLD if turn % 2 else NEW
    with load(f"rollout-{turn}", RATE, directory) as running:
        driver = cluster.drive("rollout", version=version)
        event = driver.kill_at(line)
        code, said = (cluster.drive("rollout", "resume", version=version) if event else driver).finish()
        running.pass_more()
        report = running.stop()
    found.reports.append(report)
    found.killed.append(f"{event.name}" if event else "not at all")
    if code:
        raise SystemExit(f"bench: the rollout to {version} ended with exit code {code}:\n{said}")
    line_of_it = timeline(driver.journal()[driver.known :], 0.0)
    assert line_of_it is not None
    for parts in machine_parts(driver.journal()[driver.known :], line_of_it):
        found.add(parts)
    print(
        f"  to {version}, killed at {found.killed[-1]}: lost {report['lost']} of {report['acked']}, "
        f"longest gap {show(report['longest_gap_s'], 's')}",
        file=sys.stderr,
    )


def machine_parts(events: Sequence[Event], line: Timeline) -> Iterator[dict[str, float]]:
    """Yield how long each machine took and with what, from when the one before it was done.

    A machine at which the driver was killed is left out. Machines are taken one at a time.
    """
    began = events[0].time
    for event in events:
        if event.name != "done":
            continue
        if not any(mark.kind == "note" and began <= mark.time <= event.time for mark in line.marks):
            (machine,) = event.fields["machines"]
            yield _parts(machine, event.time - began, _within(line.waits, began, event.time), line)
        began = event.time


def _within(waits: Sequence[GateWait], began: float, ended: float) -> list[GateWait]:
    return [wait for wait in waits if began <= wait.start and wait.end <= ended]


def _parts(machine: str, seconds: float, waits: Sequence[GateWait], line: Timeline) -> dict[str, float]:
    split = line.split(machine)
    (watched,) = (span for span in line.of(machine) if span.stage == "monitoring")
    before = [wait for wait in waits if wait.end <= watched.start]
    machines = [wait for wait in before if wait.gate == "machine"]
    booting = sum(wait.seconds for wait in machines if wait.reason.endswith(("is booting", "is configuring")))
    parts = {
        "stop": split["stopping"],
        "replace": split["applying"],
        "boot": booting,
        "broker starts": sum(wait.seconds for wait in machines) - booting,
        "catch-up": sum(wait.seconds for wait in before if wait.gate == "kafka"),
        "monitor": split["monitoring"],
    }
    kafka = sum(parts[part] for part in ("stop", "broker starts", "catch-up", "monitor"))
    return {**parts, _OWN: seconds - kafka}


def _section(found: Found, seed: str) -> Section:
    gaps = sorted(float(report["longest_gap_s"]) for report in found.reports)
    count = len(gaps)
    p99 = gaps[math.ceil(0.99 * count) - 1]
    spread = f" ({show(gaps[0], 's')} to {show(gaps[-1], 's')}, n={count})"
    latency = max(float(report["latency_ms"]["p99"]) for report in found.reports) / 1000
    back = sum(len(report["offsets_went_back"]) for report in found.reports)
    return Section(
        "rollout",
        "Rolling a Kafka cluster of three under load, its driver killed each time",
        (
            Row("acknowledged messages", found.total("acked") / 1e6, "million"),
            Row("of them lost", found.total("lost"), "messages", 0.0),
            Row("end offsets that went back", back, "offsets", 0.0),
            Row("longest time without an acknowledgement, p99 of the rollouts", p99, "s", GAP_LIMIT,
                spread=spread),
            Row("latency of an acknowledgement, p99 of the worst rollout", latency, "s"),
            *timed_rows({f"a machine: {part}": found.seconds[part] for part in PARTS if found.seconds[part]}),
            *timed_rows({_OWN: found.seconds[_OWN]} if found.seconds[_OWN] else {}, {_OWN: OWN_LIMIT}),
        ),
        (
            f"{count} rollouts of `examples/kafka-cluster` in turn to {NEW} and {OLD}, under {RATE:g} "
            "records a second with acks=all, each counted by bench/kafka_probe.py.",
            f"In each, the driver is killed by SIGKILL at a random line of the journal (seed {seed}), and "
            "`stoneware rollout resume` takes over. The machine at which that happened is in the losses and "
            "the gaps, and not in the seconds of a machine.",
            "Stop: Kafka's controlled shutdown. Replace: Terraform's plan, its check, the apply. Boot: until "
            "the broker is started. Broker starts: until it is registered, unfenced, and its health check "
            "has seen it. Catch-up: until the kafka gate is open, before and after. "
            f"Monitor: {MONITOR} by the file.",
            "What Stoneware adds: all from one machine's end to the next one's but stop, broker start, "
            "catch-up and monitor.",
        ),
    )  # fmt: skip
