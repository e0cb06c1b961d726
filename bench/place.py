"""Where the benchmarks run: a store of their own, the installed program, and what both sides start from."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import harness

BASE = "debian:12"
HELLO = harness.ROOT / "examples/hello"
PROGRAM = Path(sys.executable).parent / "stoneware"


class Place:
    """A store for the benchmarks, in BENCH_HOME (default /var/tmp/stoneware-bench)."""

    def __init__(self, home: Path | None = None, program: Path = PROGRAM) -> None:
        self.program = program
        self.home = home or Path(os.environ.get("BENCH_HOME", "/var/tmp/stoneware-bench"))
        self.env = {"STONEWARE_HOME": str(self.home), "STONEWARE_POOL_SIZE": "40G"}

    def cli(self, *words: str | Path) -> str:
        """Run `stoneware WORDS…` and return its standard output."""
        return harness.run([self.program, *words], env=self.env)

    def timed(self, *words: str | Path) -> float:
        """Run `stoneware WORDS…` and return its seconds."""
        return harness.timed([self.program, *words], env=self.env)

    def measured(self, *words: str | Path) -> dict[str, Any]:
        """Run a command with its cost measured: `peak_mib` and the heavy `modules` it loaded."""
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            argv = [sys.executable, "-m", "bench.measured", *words]
            harness.run(argv, env={**self.env, "BENCH_USAGE": report.name}, cwd=harness.ROOT)
            usage: dict[str, Any] = json.loads(Path(report.name).read_text())
        return usage

    def machines(self) -> dict[str, dict[str, Any]]:
        """Return all machines by name, as `ps` tells them."""
        return {machine["name"]: machine for machine in json.loads(self.cli("ps", "-a", "--json"))}

    def base_rootfs(self) -> Path:
        """Return the root file system of the base, made where it is missing."""
        from stoneware.platforms.local.bases.bases import ensure_base

        store = self.store()
        rootfs: Path = store.checkpoint_rootfs(ensure_base(store, BASE, progress=print))
        return rootfs

    def store(self) -> Any:
        """Open the store in this process."""
        from stoneware.platforms.local.store.images import LocalImageStore

        os.environ.update(self.env)
        return LocalImageStore.open(self.home)

    def hello(self) -> None:
        """Bake the hello example, from the cache where it is there."""
        self.cli("bake", "-q", "-t", "hello", HELLO)

    def remove(self) -> None:
        """Remove the store with everything in it."""
        if not self.home.exists():
            return
        from stoneware.platforms.local.store.recover import teardown

        teardown(self.store(), remove=True)


def answer(address: str, *, deadline: float = 120.0) -> tuple[float, str]:
    """Poll `http://ADDRESS/` until it answers: the moment (perf_counter) and the page's text.

    A connection that is tried before the machine is on the network would be tried again by the kernel only
    after a second, so each attempt is given up soon.
    """
    end = time.perf_counter() + deadline
    while True:
        try:
            socket.create_connection((address, 80), timeout=0.03).close()
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as reply:
                text = reply.read().decode()
            return time.perf_counter(), text
        except OSError as error:
            if time.perf_counter() > end:
                raise SystemExit(f"bench: {address} did not answer in {deadline:.0f} s: {error}") from error
            time.sleep(0.01)


def copied_context(target: Path, extra: Sequence[str] = ()) -> Path:
    """Copy the hello example, with lines added to its Machinefile, and return the copy."""
    shutil.copytree(HELLO, target)
    machinefile = target / "Machinefile"
    machinefile.write_text(machinefile.read_text() + "\n".join(["", *extra, ""]))
    return target
