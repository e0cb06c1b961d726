"""Fifty machines at once: how fast they come up and what memory each one takes."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.harness import Row, Section
from bench.place import Place, answer

COUNT = int(os.environ.get("BENCH_MACHINES", "50"))
AT_ONCE = 4  # commands under way at a time


def measure(place: Place, repeats: int) -> Section:  # noqa: ARG001 (fifty are repetitions enough)
    """Start the machines, wait until every one answers and is healthy, measure, and remove them."""
    place.hello()
    names = [f"bench-{number:02}" for number in range(COUNT)]
    before = _available_mib()
    started = time.perf_counter()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: _start(place, name), names))
        created = time.perf_counter() - started
        _until_healthy(place, names)
        healthy = time.perf_counter() - started
        machines = place.machines()
        pages = [answer(machines[name]["ip"], deadline=10)[1] for name in names]
        assert all(f"Machine {name}," in page for name, page in zip(names, pages, strict=True))
        memory = (before - _available_mib()) / COUNT
    finally:
        stopping = time.perf_counter()
        place.cli("rm", "-f", *[name for name in names if name in place.machines()])
        removed = time.perf_counter() - stopping
    rows = (
        Row(f"{COUNT} machines created", created, "s"),
        Row(f"{COUNT} machines healthy", healthy, "s"),
        Row("boot rate", COUNT / healthy, "machines/s"),
        Row("memory per machine", memory, "MiB"),
        Row(f"{COUNT} machines removed", removed, "s"),
    )
    return Section(
        "fleet",
        f"{COUNT} machines at once",
        rows,
        (
            f"hello, {AT_ONCE} `stoneware run -d` at a time on {os.cpu_count()} cores; each machine's page "
            "was fetched and named that machine.",
            "Memory: what the kernel's MemAvailable fell by, divided by the number of machines.",
        ),
    )


def _start(place: Place, name: str) -> None:
    place.cli("run", "-d", "--name", name, "-e", f"GREETING={name}", "hello")


def _until_healthy(place: Place, names: list[str]) -> None:
    deadline = time.monotonic() + 300
    while True:
        machines = place.machines()
        ended = [name for name in names if machines[name]["phase"] in ("failed", "stopped")]
        if ended:
            reason = machines[ended[0]]["error"]
            raise SystemExit(f"bench: {len(ended)} machines ended; {ended[0]}: {reason}")
        missing = [name for name in names if machines[name]["health"] != "healthy"]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: not healthy after 300 s: {', '.join(missing)}")
        time.sleep(0.1)


def _available_mib() -> float:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
