"""`up`, a no-op `up` and `down` of small clusters, against a plain script that runs the same containers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.harness import ROOT, Section, interleave, ratio, run, timed, timed_rows
from bench.place import Place, answer

if TYPE_CHECKING:
    from stoneware.model.machine import Machine

SCRIPT = ROOT / "bench/plain-nspawn.sh"
NETWORK = os.environ.get("PEER_NETWORK", "198.18.77")  # the script's
LIMITS = {3: 5.0, 20: 20.0}  # machines, and the seconds in which they have to be healthy
NOOP_LIMIT = 1.0
RATIOS, DOWN_RATIOS = {20: 1.4}, {20: 2.0}  # machines, and how many times the script's time they may take
FILE = """\
name: {name}
services:
  web:
    image: hello
    environment:
      GREETING: "hi {{{{.Service.Name}}}}-{{{{.Task.Slot}}}}"
    deploy:
      replicas: {count}
"""


@dataclass
class Samples:
    """What a case measures besides its own figure, by name; the warm-up is left out."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def note(self, turn: int, what: str, seconds: float) -> None:
        if turn > 0:
            self.found.setdefault(what, []).append(seconds)


def measure(place: Place, repeats: int) -> Section:
    """Measure clusters of 3 and 20 machines and the same machines by the script, in turn."""
    place.hello()
    samples = Samples()
    peer = Peer(place, samples)
    with TemporaryDirectory(prefix="stoneware-bench-") as directory:
        cases: dict[str, Callable[[int], float]] = {}
        for count in LIMITS:
            cluster = Cluster(place, samples, count, Path(directory))
            cases[_healthy(count)] = cluster.measure
            cases[_script(count)] = partial(peer.measure, count)
        try:
            peer.prepare()
            found = interleave(cases, repeats, warm=1) | samples.found
        finally:
            peer.remove()
    limits = {_healthy(count): seconds for count, seconds in LIMITS.items()}
    limits |= {_noop(count): NOOP_LIMIT for count in LIMITS}
    names = (_healthy, _noop, _answers, _script, _down, _script_down)
    return Section(
        "up",
        "Clusters: up, up again, down, against a plain script",
        (
            *timed_rows({name(count): found[name(count)] for count in LIMITS for name in names}, limits),
            *(ratio(found, _answers(count), _script(count), RATIOS.get(count)) for count in LIMITS),
            *(ratio(found, _down(count), _script_down(count), DOWN_RATIOS.get(count)) for count in LIMITS),
        ),
        (
            "`stoneware up --yes` of hello from a machines.yaml, as a command: Python's start, the checks "
            "against the contract, Terraform's plan and apply, and the first good health check of each "
            "machine are in it. They answer once all pages have been fetched after that.",
            "The script, bench/plain-nspawn.sh: the root file system of the same image with an ordinary page "
            "and a fixed address. It has no boot agent, metadata, DNS, health checks, firewall or state. "
            "A snapshot and systemd-nspawn --boot for each machine, in a user namespace as ours, all at "
            "once; until all pages have been fetched.",
            "Each page is checked for its machine's name. A no-op may not restart or replace anything.",
            "Not compared: Incus, which Debian 12 does not have, and LXD, whose daemon is not installed.",
        ),
    )


def _healthy(count: int) -> str:
    return f"up of {count} machines until healthy"


def _noop(count: int) -> str:
    return f"up of {count} machines that are up"


def _down(count: int) -> str:
    return f"down of {count} machines"


def _answers(count: int) -> str:
    return f"{count} machines answer"


def _script(count: int) -> str:
    return f"{count} machines answer, by a plain script"


def _script_down(count: int) -> str:
    return f"{count} machines removed by the script"


@dataclass(frozen=True)
class Cluster:
    """A cluster of hello machines and its file."""

    place: Place
    samples: Samples
    count: int
    directory: Path

    @property
    def name(self) -> str:
        return f"bench-up-{self.count}"

    @property
    def file(self) -> Path:
        return self.directory / f"{self.name}.yaml"

    def measure(self, turn: int) -> float:
        """Take the cluster up, up again and down; return the seconds of the first."""
        self.file.write_text(FILE.format(name=self.name, count=self.count))
        try:
            started = time.perf_counter()
            healthy = self.place.timed("up", "--yes", "-f", self.file)
            machines = self._check_pages()
            self.samples.note(turn, _answers(self.count), time.perf_counter() - started)
            again = self.place.timed("up", "--yes", "-f", self.file)
            self.samples.note(turn, _noop(self.count), again)
            assert _identities(self._machines()) == _identities(machines), "a no-op `up` changed machines"
            down = self.place.timed("down", "--yes", "-f", self.file)
            self.samples.note(turn, _down(self.count), down)
        finally:
            left = self._machines()
            if left:
                self.place.cli("down", "--yes", "-f", self.file)
        assert not left, f"`down` left {', '.join(left)}"
        return healthy

    def _check_pages(self) -> dict[str, Machine]:
        """Fetch every machine's page, and return the machines."""
        machines = self._machines()
        names = [f"{self.name}-web-{slot}" for slot in range(1, self.count + 1)]
        assert sorted(machines) == sorted(names), f"not the machines of the file: {', '.join(machines)}"
        for slot, name in enumerate(names, start=1):
            _, page = answer(machines[name].ip, deadline=10)
            assert f"<h1>hi web-{slot}</h1>" in page, page
            assert f"Machine {name}," in page, page
        return machines

    def _machines(self) -> dict[str, Machine]:
        from stoneware.platforms.local.platform import LocalPlatform

        found = LocalPlatform(self.place.store()).machines()
        return {one.name: one for one in found if one.name.startswith(f"{self.name}-")}


def _identities(machines: Mapping[str, Machine]) -> dict[str, tuple[str, float | None, str]]:
    return {name: (one.id, one.started, one.ip) for name, one in machines.items()}


@dataclass(frozen=True)
class Peer:
    """The script, in a directory of the store's file system."""

    place: Place
    samples: Samples

    @property
    def directory(self) -> Path:
        return Path(self.place.store().data) / "bench-peer"

    def prepare(self) -> None:
        store = self.place.store()
        self.remove()
        run(["sh", SCRIPT, "prepare", store.image_rootfs(store.tags()["hello:latest"]), self.directory])

    def remove(self) -> None:
        run(["sh", SCRIPT, "remove", self.directory])

    def measure(self, count: int, turn: int) -> float:
        """Start machines by the script; return the seconds until each has answered with its page."""
        directory = self.directory
        started = time.perf_counter()
        try:
            run(["sh", SCRIPT, "up", directory, str(count)])
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(answer, (f"{NETWORK}.{slot + 1}" for slot in range(1, count + 1))))
            for slot, (_, page) in enumerate(answers, start=1):
                assert page == f"<h1>hi web-{slot}</h1>\n", page
        finally:
            down = timed(["sh", SCRIPT, "down", directory])
        self.samples.note(turn, _script_down(count), down)
        return max(moment for moment, _ in answers) - started
