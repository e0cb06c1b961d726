"""Bakes against buildah: the same Machinefile, the same base, nothing but the builder differs."""

from __future__ import annotations

import compileall
import tempfile
import uuid
from pathlib import Path

from bench.buildah import Buildah, version
from bench.harness import ROOT, Section, interleave, ratio, timed_rows
from bench.place import Place, copied_context

NAME = "bench-bake"
SOURCES = ROOT / "src"
# The last step is the one that changes: what comes after the example's own lines.
LAST_STEP = ("ARG STAMP=none", 'RUN echo "$STAMP" > /usr/share/bench-stamp')


def measure(place: Place, repeats: int) -> Section:
    """Measure first builds, rebuilds of the last step, and builds with nothing to do."""
    release = version()
    compileall.compile_dir(SOURCES, quiet=2)  # as an installation does
    with tempfile.TemporaryDirectory(prefix="bench-buildah-", dir="/var/tmp") as directory:
        other = Buildah(Path(directory) / "storage")
        try:
            other.import_base(place.base_rootfs())
            context = copied_context(Path(directory) / "context", LAST_STEP)
            samples = _samples(place, other, context, repeats)
        finally:
            other.remove()
    rows = [
        *timed_rows(samples, {"nothing changed: stoneware": 0.25}),
        ratio(samples, "nothing changed: buildah", "nothing changed: stoneware", 1.0, at_least=True),
        ratio(samples, "last step: stoneware", "last step: buildah", 1.2),
        ratio(samples, "all steps: stoneware", "all steps: buildah"),
    ]
    return Section(
        "bake",
        f"Baking, against buildah {release}",
        tuple(rows),
        (
            "The hello example with one more RUN at its end, on the same base root file system.",
            f"buildah: chroot isolation, layers cached, {other.driver} storage.",
            "Stoneware boots a machine with Terraform, checkpoints each step, seals the image, checks it for "
            "leaks and lists its files with digests; buildah does none of that.",
            "Timed is the command. Its builder's removal, behind it, ends before buildah begins.",
            '"All steps" installs packages from the network on both sides.',
        ),
    )


def _samples(place: Place, other: Buildah, context: Path, repeats: int) -> dict[str, list[float]]:
    def stamp(turn: int) -> str:
        return f"--build-arg=STAMP={turn}-{uuid.uuid4()}"

    def bake(*words: str) -> float:
        seconds = place.timed("bake", "-q", "-t", NAME, *words, context)
        place.cli("ps", "-aq")  # waits for the end of the builder's removal, which would slow buildah down
        return seconds

    first = interleave(
        {
            "all steps: stoneware": lambda _: bake("--no-cache"),
            "all steps: buildah": lambda _: other.build(context, NAME, "--no-cache"),
        },
        max(2, repeats // 2),
    )
    place.cli("bake", "-q", "-t", NAME, context)  # both have every step cached from here on
    other.build(context, NAME)
    last = interleave(
        {
            "last step: stoneware": lambda turn: bake(stamp(turn)),
            "last step: buildah": lambda turn: other.build(context, NAME, stamp(turn)),
        },
        repeats,
        warm=1,
    )
    nothing = interleave(
        {
            "nothing changed: stoneware": lambda _: place.timed("bake", "-q", "-t", NAME, context),
            "nothing changed: buildah": lambda _: other.build(context, NAME),
        },
        repeats,
        warm=1,
    )
    return {**nothing, **last, **first}
