"""The example's Kafka cluster under load: its commands, the probe beside them, a driver that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.harness import ROOT
from bench.place import PROGRAM
from stoneware.cluster.directory import ClusterDirectory
from stoneware.platforms.cluster_files import FileRecords
from stoneware.rollout.journal import Event, journal_of

NAME = "kafka-cluster"
BOOTSTRAP = "127.0.0.1:9091,127.0.0.1:9092,127.0.0.1:9093"
OLD, NEW = "4.2.1", "4.3.1"
#: For tests, in which a broker lives for a minute: Java spends less on compiling than on running.
QUICK = {"KAFKA_JIT": "1"}
_LIMIT = 300.0  # seconds until a process counts as hanging


def wait_until(done: Callable[[], object], what: str, seconds: float = _LIMIT) -> None:
    """Ask again and again until the answer is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


@dataclass
class Load:
    """A probe that runs. Its curve has a line for each second."""

    topic: str
    rate: float
    directory: Path
    bootstrap: str = BOOTSTRAP
    _process: subprocess.Popen[str] | None = None

    @property
    def curve(self) -> Path:
        return self.directory / f"{self.topic}.jsonl"

    @property
    def _said(self) -> Path:
        return self.directory / f"{self.topic}.log"

    def start(self) -> None:
        """Start it, and wait until records are acknowledged."""
        words = ["--bootstrap", self.bootstrap, "--topic", self.topic, "--rate", str(self.rate)]
        argv = [sys.executable, "-m", "bench.kafka_probe", *words, "--curve", str(self.curve)]
        with self._said.open("w") as said:
            self._process = subprocess.Popen(argv, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=said)
        self.pass_more()

    def pass_more(self) -> None:
        """Wait until as many more records have been acknowledged as are sent in a second."""
        wanted = self._acked() + int(self.rate)
        wait_until(
            lambda: self._acked() >= wanted or self._ended(), f"{self.rate:g} more records acknowledged"
        )
        assert not self._ended(), f"the probe ended by itself:\n{self._said.read_text()[-2000:]}"

    def _acked(self) -> int:
        if not self.curve.exists():
            return 0
        whole = self.curve.read_text().rpartition("\n")[0]
        return sum(int(json.loads(line)["acked"]) for line in whole.splitlines())

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self) -> dict[str, Any]:
        """End the load, have everything read back, and return the probe's report."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        output, _ = self._process.communicate(timeout=_LIMIT)
        report: dict[str, Any] = json.loads(output)
        return report

    def kill(self) -> None:
        """End it whatever it is at."""
        if self._process is not None and not self._ended():
            self._process.kill()
            self._process.communicate()


@contextmanager
def load(topic: str, rate: float, directory: Path, bootstrap: str = BOOTSTRAP) -> Iterator[Load]:
    """Give a probe that has begun; it is ended with the block at the latest."""
    running = Load(topic, rate, directory, bootstrap)
    try:
        running.start()
        yield running
    finally:
        running.kill()


@dataclass
class Driver:
    """A command that drives a rollout."""

    process: subprocess.Popen[str]
    output: IO[str]
    journal: Callable[[], list[Event]]
    known: int  # lines of the journal before it began

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def finish(self) -> tuple[int, str]:
        """Wait for its end, and return the exit code and all that it said."""
        code = self.process.wait(timeout=2 * _LIMIT)
        self.output.seek(0)
        with self.output:
            return code, self.output.read()

    def kill_at(self, line: int) -> Event | None:
        """Kill it when the journal has that many more lines; return the last one, None if it ended first."""
        wait_until(
            lambda: len(self.journal()) >= self.known + line or not self.running,
            f"{line} lines of the journal",
            2 * _LIMIT,
        )
        if not self.running:
            return None
        self.process.kill()
        self.process.wait()
        self.output.close()
        return self.journal()[-1]


def _run_program(
    words: list[str], directory: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *words],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class KafkaCluster:
    """`stoneware` in the example's directory, with a store; `environment` fills in its file.

    `program` runs a command of it, given its words, directory and environment.
    """

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path = ROOT / "examples" / NAME
    program: Callable[[list[str], Path, dict[str, str]], subprocess.CompletedProcess[str]] = _run_program

    def _argv(self, words: tuple[str | Path, ...]) -> list[str]:
        return [str(PROGRAM), *map(str, words)]

    def _environment(self, version: str) -> dict[str, str]:
        own = {"STONEWARE_HOME": str(self.home), "KAFKA_VERSION": version}
        return {**os.environ, **self.environment, **own}

    def run(self, *words: str | Path, version: str = OLD, check: bool = True) -> str:
        """Run a command and return its standard output. Raises AssertionError where it fails."""
        done = self.program([*map(str, words)], self.directory, self._environment(version))
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def bake(self, version: str) -> None:
        """Bake a version beforehand, so that a rollout has nothing left to bake."""
        reference, argument = f"kafka:{version}", f"KAFKA_VERSION={version}"
        self.run("bake", "-q", "-t", reference, "--build-arg", argument, self.directory.parent / "kafka")

    def drive(self, *words: str | Path, version: str = NEW) -> Driver:
        """Start a command that drives a rollout."""
        known = len(self.events())
        # Not a pipe: children of a killed driver would keep it open.
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed with the driver
        process = subprocess.Popen(
            self._argv(words),
            cwd=self.directory,
            env=self._environment(version),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Driver(process, output, self.events, known)

    def events(self) -> list[Event]:
        """Return the lines of the journal of rollouts."""
        return journal_of(ClusterDirectory(FileRecords(self.home / "clusters" / NAME))).read()

    def machines(self, version: str) -> dict[str, dict[str, Any]]:
        """Return the machines as `status` shows them, by short name, held against that version."""
        found = json.loads(self.run("status", "--json", version=version))["machines"]
        return {machine["name"]: machine for machine in found}
