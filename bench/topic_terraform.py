"""What Terraform adds to a bake: its time without the time our own platform spends in it."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.harness import ROOT, Section, interleave, run, timed_rows
from bench.place import Place, copied_context
from bench.topic_bake import LAST_STEP

OVERHEAD = "Terraform in one bake, our own work taken off"


def measure(place: Place, repeats: int) -> Section:
    """Bake the last step again with timers around Terraform and around the platform."""
    with TemporaryDirectory(prefix="bench-terraform-") as directory:
        context = copied_context(Path(directory) / "context", LAST_STEP)
        place.cli("bake", "-q", "-t", "bench-terraform", context)
        runs: list[dict[str, float]] = []

        def case(turn: int) -> float:
            spent = _traced(place, context, f"STAMP={turn}-{uuid.uuid4()}")
            runs.append(spent)
            return spent["terraform"] - spent["platform"]

        samples = interleave({OVERHEAD: case}, repeats, warm=1)
    kept = runs[-repeats:]
    samples["of it loading its libraries"] = [spent["loading"] for spent in kept]
    samples["the whole bake"] = [spent["whole"] for spent in kept]
    return Section(
        "terraform",
        "Terraform's overhead per bake",
        tuple(timed_rows(samples, {OVERHEAD: 0.3})),
        (
            "A bake of one step. Timed: loading the runner and the provider, writing the configuration, plan "
            "and apply, destroy, closing; taken off: creating, observing and destroying the machine in it.",
        ),
    )


def _traced(place: Place, context: Path, argument: str) -> dict[str, float]:
    argv = [sys.executable, "-m", "bench.traced", str(context), "bench-terraform", argument]
    spent: dict[str, float] = json.loads(run(argv, env=place.env, cwd=ROOT))
    return spent
