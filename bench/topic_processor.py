"""Processor time of clusters: this tree's program against another commit's and the plain script, in turn.

It is that of the command and of the machines; a noisy computer changes it far less than the time that passes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.harness import Section, interleave, ratio, run, timed_rows
from bench.place import Place
from bench.topic_up import SCRIPT, Peer, Samples
from bench.topic_walls import BEFORE, COUNT, NOW, Side, commit_of, other_program, remove_sides, sides_of

_ACCOUNTS = Path("/sys/fs/cgroup/cpuacct")  # of version 1: machines that leave their groups stay in this one


def measure(place: Place, repeats: int) -> Section:
    """Measure `up` and `down` of a cluster by both programs and the script, in turn."""
    if not (_ACCOUNTS / "cpuacct.usage").exists():
        raise SystemExit(f"bench: there is no {_ACCOUNTS}")
    other = other_program()
    found: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="stoneware-bench-") as directory:
        sides = sides_of(place, other, Path(directory))
        peer = Peer(place, Samples())
        try:
            for side in sides.values():
                side.place.hello()
            peer.prepare()
            cases: dict[str, Callable[[int], float]] = {
                _up(name): partial(_cluster, side, found, _down(name)) for name, side in sides.items()
            }
            cases[_up("script")] = partial(_script, peer, found, _down("script"))
            samples = interleave(cases, repeats)
        finally:
            peer.remove()
            remove_sides(sides)
    samples |= found
    pairs = [(NOW, BEFORE), (NOW, "script"), (BEFORE, "script")]
    return Section(
        "processor",
        f"Processor time of {COUNT} machines",
        (
            *timed_rows(samples),
            *(ratio(samples, name(one), name(two)) for name in (_up, _down) for one, two in pairs),
        ),
        (
            f"Before: {commit_of(other)}, its own program and store, in turn with this tree's.",
            "User and system time of the command, the machines and all that they start, by the kernel's "
            "accounts. `up`: until all machines are healthy; the script asks for each page by the same curl.",
        ),
    )


def _up(name: str) -> str:
    return f"up of {COUNT}, {name}"


def _down(name: str) -> str:
    return f"down of {COUNT}, {name}"


class _Account:
    """A group whose processes' time the kernel adds up."""

    def __init__(self) -> None:
        self.path = _ACCOUNTS / f"stoneware-bench-{os.getpid()}"
        self.path.mkdir(exist_ok=True)

    def seconds(self, *argv: str | Path, env: dict[str, str] | None = None) -> float:
        """Run a command in the group; return what it and all others in the group have taken meanwhile."""
        before = self._usage()
        run(["sh", "-c", 'echo 0 >"$0/cgroup.procs"; exec "$@"', self.path, *argv], env=env)
        return self._usage() - before

    def _usage(self) -> float:
        return int((self.path / "cpuacct.usage").read_text()) / 1e9

    def remove(self) -> None:
        """Remove the group; what outlives all machines leaves it, and what that starts meanwhile."""
        while self.path.exists():
            for pid in (self.path / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    (_ACCOUNTS / "cgroup.procs").write_text(pid)
            with contextlib.suppress(OSError):
                self.path.rmdir()


def _cluster(side: Side, found: dict[str, list[float]], down: str, _turn: int) -> float:
    account = _Account()
    program, env = side.place.program, side.place.env
    try:
        up = account.seconds(program, "up", "--yes", "-f", side.file, env=env)
        taken = account.seconds(program, "down", "--yes", "-f", side.file, env=env)
        found.setdefault(down, []).append(taken)
    finally:
        account.remove()
    return up


def _script(peer: Peer, found: dict[str, list[float]], down: str, _turn: int) -> float:
    account = _Account()
    try:
        up = account.seconds("sh", SCRIPT, "up", peer.directory, str(COUNT))
        up += account.seconds("sh", SCRIPT, "await", str(COUNT))
        found.setdefault(down, []).append(account.seconds("sh", SCRIPT, "down", peer.directory))
    finally:
        account.remove()
    return up
