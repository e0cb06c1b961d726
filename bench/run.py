"""Run the topics and write bench/RESULTS.md from what has been measured so far."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import (
    topic_bake,
    topic_boot,
    topic_cluster,
    topic_cold,
    topic_disk,
    topic_fleet,
    topic_google,
    topic_processor,
    topic_rollout,
    topic_start,
    topic_status,
    topic_terraform,
    topic_up,
    topic_vm,
    topic_walls,
)
from bench.harness import RESULTS, Section, section_lines, written
from bench.place import Place

TOPICS: dict[str, Callable[[Place, int], Section]] = {
    "version": topic_start.measure_version,
    "memory": topic_start.measure_memory,
    "bake": topic_bake.measure,
    "terraform": topic_terraform.measure,
    "boot": topic_boot.measure,
    "fleet": topic_fleet.measure,
    "cluster": topic_cluster.measure,
    "up": topic_up.measure,
    "rollout": topic_rollout.measure,
    "cold": topic_cold.measure,
    "google": topic_google.measure,
    "status": topic_status.measure,
    "disk": topic_disk.measure,
    "vm": topic_vm.measure,
    # Only where BENCH_BEFORE names what to compare with.
    "walls": topic_walls.measure,
    "processor": topic_processor.measure,
}


def main(argv: Sequence[str]) -> int:
    """Run the topics named, or all, and return 1 when a limit was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("topic", nargs="*", choices=[*TOPICS, "clean"], help="default: all topics")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each case (default: 5)")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was begun is cleaned up
    place = Place()
    if "clean" in options.topic:
        place.remove()
        return 0
    if os.geteuid() != 0:
        parser.error("machines need root: run it with sudo")
    sections = []
    for topic in options.topic or _every_topic():
        print(f"# {topic}")
        sections.append(TOPICS[topic](place, options.repeats))
        print("\n".join(section_lines(sections[-1])))
        _write_report(sections[-1])
    missed = [row.what for section in sections for row in section.rows if row.met() is False]
    for what in missed:
        print(f"missed: {what}")
    return 1 if missed else 0


def _every_topic() -> list[str]:
    return [
        topic for topic in TOPICS if topic not in ("walls", "processor") or os.environ.get("BENCH_BEFORE")
    ]


def _write_report(measured: Section) -> None:
    """Put a topic's result into RESULTS.md in the place of the one before; the others stay."""
    sections = {**written(), measured.topic: section_lines(measured)}
    lines = [
        "# Results of the benchmarks",
        "",
        "Written by `sudo .venv/bin/python -m bench` (all topics, about an hour), or `make bench`."
        " One topic: `python -m bench bake`. `python -m bench clean` removes the store they use, which is "
        "/var/tmp/stoneware-bench unless BENCH_HOME says otherwise.",
        "",
        "Times are medians of repetitions taken in turn, with the smallest and largest beside them. What "
        "matters are the ratios: both sides ran in the same minutes on the same computer.",
        "",
        f"Computer: {_computer()}.",
        "",
    ]
    for topic in TOPICS:
        lines += sections.get(topic, [])
    RESULTS.write_text("\n".join(lines))


def _computer() -> str:
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {release}, kernel {platform.release().split('-')[0]}"
