"""The status of a thousand machines on Compute Engine, asked of an emulator with machines in memory."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.google.cloud import PROJECT, ZONE, Cloud, served
from tests.google.clusters import IMAGES, SETTINGS, spec

from bench.harness import TIMES, Row, Section
from bench.place import Place
from stoneware.cluster.observe import observe
from stoneware.cluster.status import status
from stoneware.emulator.machine_spec import machine_name
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.machines import GoogleMachines
from stoneware.platforms.google.platform import GooglePlatform

FEW, MANY = 100, int(os.environ.get("BENCH_INSTANCES", "1000"))
WANTED = 5.0  # seconds for a thousand


def measure(place: Place, repeats: int) -> Section:  # noqa: ARG001 - no machine of this computer is made
    """Look at a hundred machines and at a thousand, by turns."""
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch) / "emulator", delay=0) as cloud:
        platform: Any = GoogleMachines(
            Api(replace(SETTINGS, endpoint=cloud.endpoint)), lambda _: f"{IMAGES}/debian-12-stoneware"
        )
        platform.capabilities = GooglePlatform.capabilities
        platform.create_network("few-default", {})
        _fill(cloud, platform, FEW, "few")
        few = [_seconds(platform, "few", FEW) for _ in range(repeats)]
        _fill(cloud, platform, MANY - FEW, "many")
        many = [_seconds(platform, "many", MANY - FEW) for _ in range(repeats)]
    took, each = statistics.median(many), statistics.median(few) / FEW
    rows = (
        Row(f"status of {MANY} machines", took, "s", WANTED),
        Row(f"status of {FEW} machines", statistics.median(few), "s"),
        Row(f"a machine of {MANY}, against one of {FEW}", took / MANY / each, TIMES, 1.5),
    )
    return Section(
        "status",
        f"Status of {MANY} machines on Compute Engine",
        rows,
        (
            "The emulator, in the same process, with machines in memory; it has a part in each time.",
            "One list of instances, disks and rules each, and the reports of each machine, 32 at a time.",
        ),
    )


def _fill(cloud: Cloud, platform: GoogleMachines, count: int, cluster: str) -> None:
    """Have so many instances of a cluster: one is made, the others are records like it."""
    own = spec(1, name=f"{cluster}-1", networks=("few-default",), volumes=(), ports=())
    platform.create(replace(own, labels={**own.labels, "stoneware.cluster": cluster}))
    store = cloud.service.store
    ((key, record),) = [
        (key, it) for key, it in store.everywhere(PROJECT, "instances") if it["name"] == f"{cluster}-1"
    ]
    report = {"stoneware/status": json.dumps({"phase": "running"})}
    computers = cloud.computers
    first = machine_name(f"projects/{PROJECT}/zones/{ZONE}/instances/{cluster}-1")
    computers.attributes[first] = report
    for number in range(2, count + 1):
        name = f"{cluster}-{number}"
        text = json.dumps(record).replace(f"{cluster}-1", name).replace("kafka-1", f"kafka-{number}")
        store.put(key.removesuffix(f"{cluster}-1") + name, {**json.loads(text), "id": str(10**9 + number)})
        behind = machine_name(f"projects/{PROJECT}/zones/{ZONE}/instances/{name}")
        computers.machines[behind] = computers.machines[first]
        computers.attributes[behind] = report


def _seconds(platform: Any, cluster: str, count: int) -> float:
    started = time.perf_counter()
    rows = status(None, observe(platform, cluster), 0.0)
    assert len(rows) == count, len(rows)
    return time.perf_counter() - started
