"""From the command to a healthy service: a baked image against installing the service at boot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.harness import Section, interleave, ratio, timed_rows
from bench.place import BASE, Place, answer

if TYPE_CHECKING:
    from stoneware.model.machine import MachineSpec

HEALTHY = "run --wait until healthy"
ANSWERS = "baked: creation to first answer"
INSTALLED = "installed at boot: creation to first answer"
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
            "run --wait: from starting the command, so Python's own start, the checks before the launch and "
            "the first health check are in it. The other two: from creating the machine to its first page.",
            "Installed at boot: a machine from the plain base whose startup script runs apt-get update and "
            "installs the same packages, from the network.",
        ),
    )


def _base_key(place: Place) -> str:
    from stoneware.platforms.local.bases.bases import ensure_base

    return ensure_base(place.store(), BASE, progress=print)


def _healthy(place: Place) -> float:
    try:
        return place.timed("run", "-d", "--wait", "--name", "bench-boot", "-e", "GREETING=hi", "hello")
    finally:
        place.cli("rm", "-f", "bench-boot")


def _answers(place: Place) -> float:
    from stoneware.launch.plan import LaunchOptions, plan_launch

    values = {"GREETING": "hi"}
    return _boot(
        place, plan_launch(place.store(), LaunchOptions("hello", "bench-boot", values)).spec, "<h1>hi"
    )


def _installed(place: Place, base: str) -> float:
    from stoneware.model.machine import MachineSpec

    spec = MachineSpec("bench-boot", f"checkpoint:{base}", metadata={"startup-script": INSTALL})
    return _boot(place, spec, "Welcome to nginx")


def _boot(place: Place, spec: MachineSpec, page: str) -> float:
    """Boot a machine and return the seconds from before its creation to its first answer."""
    from stoneware.platforms.local.platform import LocalPlatform

    platform = LocalPlatform(place.store())
    started = time.perf_counter()
    try:
        moment, text = answer(platform.create(spec).ip)
        assert page in text
        return moment - started
    finally:
        platform.destroy(spec.name)
