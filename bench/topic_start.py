"""What each command costs before it does anything, and how much memory the process takes."""

from __future__ import annotations

import sys

from bench.harness import Row, Section, interleave, timed, timed_rows
from bench.place import HELLO, PROGRAM, Place

VERSION = "stoneware version"
LIMIT_MIB = 150


def measure_version(place: Place, repeats: int) -> Section:
    """Measure `stoneware version` beside a Python that does nothing."""
    samples = interleave(
        {
            VERSION: lambda _: timed([PROGRAM, "version"], env=place.env),
            "python -c pass": lambda _: timed([sys.executable, "-c", "pass"]),
            "stoneware --help": lambda _: timed([PROGRAM, "--help"], env=place.env),
        },
        max(repeats, 9),
        warm=1,
    )
    return Section("version", "Start of the program", tuple(timed_rows(samples, {VERSION: 0.15})))


def measure_memory(place: Place, repeats: int) -> Section:  # noqa: ARG001 (a peak is a peak)
    """Measure the peak memory of the process for the commands that do not load Terraform, and for a bake."""
    place.hello()
    commands: dict[str, tuple[str, ...]] = {
        "version": ("version",),
        "bake, nothing changed": ("bake", "-q", "-t", "hello", str(HELLO)),
        "run -d --wait": ("run", "-d", "--wait", "--name", "bench-memory", "-e", "GREETING=hi", "hello"),
        "ps": ("ps", "-a"),
        "inspect": ("inspect", "hello"),
        "rm -f": ("rm", "-f", "bench-memory"),
        "bake, all steps": ("bake", "-q", "--no-cache", "-t", "bench-memory", str(HELLO)),
    }
    rows, notes = [], []
    for name, words in commands.items():
        usage = place.measured(*words)
        rows.append(Row(f"`stoneware {name}`", usage["peak_mib"], "MiB", LIMIT_MIB))
        if usage["modules"]:
            notes.append(f"`stoneware {name}` loaded {', '.join(usage['modules'])}.")
    return Section(
        "memory",
        "Peak memory of the stoneware process",
        tuple(rows),
        ("VmHWM of the process itself at its end, without its children: Terraform runs in one.", *notes),
    )
