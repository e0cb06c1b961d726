"""What the walls around machines cost: this tree's program against that of another commit, in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import harness
from bench.harness import Row, Section, interleave, ratio, timed_rows
from bench.place import PROGRAM, Place
from bench.topic_up import FILE

COUNT = 20  # machines of a cluster
REQUESTS = 500  # to the metadata server, for one figure
STREAM = 1 << 30  # bytes through `exec`
SLOWER = 1.1  # times the other commit's, at most
NOW, BEFORE = "now", "before"
CASES = ("run --wait until healthy", "exec true", "exec 1 GiB", "up of 20", "metadata request")
_ASK = (
    "curl -s -o /dev/null -H Metadata-Flavor:Google -w '%{time_total}\\n' "
    f"'http://169.254.169.254/computeMetadata/v1/instance/name?n=[1-{REQUESTS}]'"
    " | awk '{ total += $1 } END { printf \"%.9f\", total / NR }'"
)


class Side:
    """One of the two programs, with a store of its own and a machine that stays."""

    def __init__(self, name: str, program: Path, home: Path, directory: Path) -> None:
        self.place = Place(home, program)
        self.machine = f"walls-{name}"
        self.file = directory / f"{name}.yaml"
        self.file.write_text(FILE.format(name=f"walls-{name}", count=COUNT))

    def prepare(self) -> None:
        self.place.hello()
        self.place.cli("run", "-d", "--wait", "--name", self.machine, "-e", "GREETING=hi", "hello")

    def remove(self) -> None:
        for words in (("rm", "-f", self.machine), ("down", "--yes", "-f", self.file)):
            argv = [str(word) for word in (self.place.program, *words)]
            subprocess.run(argv, env={**os.environ, **self.place.env}, check=False, capture_output=True)

    def healthy(self, _turn: int) -> float:
        try:
            return self.place.timed(
                "run", "-d", "--wait", "--name", "walls-boot", "-e", "GREETING=hi", "hello"
            )
        finally:
            self.place.cli("rm", "-f", "walls-boot")

    def execute(self, _turn: int) -> float:
        return self.place.timed("exec", self.machine, "true")

    def stream(self, _turn: int) -> float:
        """Move a GiB out of a machine through a pipe."""
        argv = [str(self.place.program), "exec", self.machine, "head", "-c", str(STREAM), "/dev/zero"]
        started = time.perf_counter()
        with subprocess.Popen(
            argv, env={**os.environ, **self.place.env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            size = 0
            while block := os.read(child.stdout.fileno(), 1 << 20):
                size += len(block)
        assert (size, child.returncode) == (STREAM, 0)
        return time.perf_counter() - started

    def up(self, _turn: int) -> float:
        try:
            return self.place.timed("up", "--yes", "-f", self.file)
        finally:
            self.place.cli("down", "--yes", "-f", self.file)

    def metadata(self, _turn: int) -> float:
        return float(self.place.cli("exec", self.machine, "sh", "-c", _ASK))


def measure(place: Place, repeats: int) -> Section:
    """Measure both programs in turn. BENCH_BEFORE is the other commit's `stoneware`."""
    other = other_program()
    with TemporaryDirectory(prefix="stoneware-bench-") as directory:
        sides = sides_of(place, other, Path(directory))
        try:
            for side in sides.values():
                side.prepare()
            samples = interleave(_cases(sides), repeats, warm=1)
        finally:
            remove_sides(sides)
    return Section("walls", "What the walls cost", (*timed_rows(samples), *_ratios(samples)), _notes(other))


def other_program() -> Path:
    """Return the program of another commit that this tree's is compared with."""
    other = shutil.which(os.environ.get("BENCH_BEFORE", ""))
    if other is None:
        raise SystemExit("bench: BENCH_BEFORE=/another/checkout/.venv/bin/stoneware is what to compare with")
    return Path(other)


def sides_of(place: Place, other: Path, directory: Path) -> dict[str, Side]:
    """Return both programs, with the files of their clusters in a directory."""
    before = place.home.with_name(f"{place.home.name}-before")
    return {
        NOW: Side(NOW, PROGRAM, place.home, directory),
        BEFORE: Side(BEFORE, other, before, directory),
    }


def remove_sides(sides: Mapping[str, Side]) -> None:
    """Remove what both programs may have left."""
    for side in sides.values():
        side.remove()


def commit_of(other: Path) -> str:
    """Return the commit that a checkout's program is of, with its subject."""
    return harness.run(["git", "-C", other.parents[2], "log", "-1", "--format=%h %s"]).strip()


def _cases(sides: dict[str, Side]) -> dict[str, Callable[[int], float]]:
    return {
        f"{case}, {name}": partial(measured, side)
        for case, measured in zip(
            CASES, (Side.healthy, Side.execute, Side.stream, Side.up, Side.metadata), strict=True
        )
        for name, side in sides.items()
    }


def _ratios(samples: dict[str, list[float]]) -> list[Row]:
    limits = dict.fromkeys(CASES, SLOWER) | {"exec 1 GiB": 1 / 0.8}
    return [ratio(samples, f"{case}, {NOW}", f"{case}, {BEFORE}", limits[case]) for case in CASES]


def _notes(other: Path) -> tuple[str, ...]:
    return (
        f"Before: {commit_of(other)}, its own program and store, in turn with this tree's.",
        "`exec 1 GiB`: zeros from the machine through a pipe, read by the benchmark.",
        f"Metadata request: the mean of {REQUESTS} over one connection, as curl in the machine measures it.",
    )
