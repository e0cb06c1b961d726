"""From the command to a healthy service: a baked image against installing the service at boot."""

from __future__ import annotations

import time

from bench.harness import Section, interleave, ratio, timed_rows
from bench.place import BASE, Place, answer

HEALTHY = "run --wait until healthy"
ANSWERS = "baked: first answer over HTTP"
INSTALLED = "installed at boot: first answer over HTTP"
# What one writes into a startup script when there is no baked image.
INSTALL = """#!/bin/sh
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends curl nginx
systemctl start nginx
"""


def measure(place: Place, repeats: int) -> Section:
    """Measure a baked hello and a plain base with a startup script in turn."""
    place.hello()
    base = _base_key(place)
    cases = {
        HEALTHY: lambda _: _healthy(place),
        ANSWERS: lambda _: _answers(place),
        INSTALLED: lambda _: _installed(place, base),
    }
    samples = interleave(cases, repeats, warm=1)
    return Section(
        "boot",
        "Boot to healthy, against installing at boot",
        (
            *timed_rows(samples, {HEALTHY: 1.5}),
            ratio(samples, INSTALLED, ANSWERS, 10.0, at_least=True),
        ),
        (
            "Seconds from starting the command: Python's own start, the checks before the launch and the "
            "whole boot are in it.",
            "Installed at boot: a machine from the plain base whose startup script runs apt-get update and "
            "installs the same packages, from the network.",
        ),
    )


def _base_key(place: Place) -> str:
    from stoneware.local.bases import ensure_base

    return ensure_base(place.store(), BASE, progress=print)


def _healthy(place: Place) -> float:
    try:
        return place.timed("run", "-d", "--wait", "--name", "bench-boot", "-e", "GREETING=hi", "hello")
    finally:
        place.cli("rm", "-f", "bench-boot")


def _answers(place: Place) -> float:
    started = time.perf_counter()
    try:
        place.cli("run", "-d", "--name", "bench-boot", "-e", "GREETING=hi", "hello")
        moment, page = answer(place.machines()["bench-boot"]["ip"])
        assert "<h1>hi</h1>" in page
        return moment - started
    finally:
        place.cli("rm", "-f", "bench-boot")


def _installed(place: Place, base: str) -> float:
    from stoneware.local.platform import LocalPlatform
    from stoneware.platform import MachineSpec

    platform = LocalPlatform(place.store())
    spec = MachineSpec("bench-boot", f"checkpoint:{base}", metadata={"startup-script": INSTALL})
    started = time.perf_counter()
    try:
        return answer(platform.create(spec).ip)[0] - started
    finally:
        platform.destroy("bench-boot")
