"""A cluster of the examples, as a user in its directory has it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conftest import Program


@dataclass(frozen=True)
class ClusterProgram:
    """`stoneware` in the directory of a machines.yaml."""

    program: Program
    directory: Path
    name: str

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.program.run(*words, check=check, cwd=self.directory)

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the machines as `status` shows them, by short name."""
        return {machine["name"]: machine for machine in self.json("status")["machines"]}

    def execute(self, machine: str, *words: str) -> str:
        return self.run("exec", f"{self.name}-{machine}", *words).stdout

    def drift(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the exit code of `drift`, and what differs."""
        done = self.run("drift", "--json", check=False)
        return done.returncode, json.loads(done.stdout)["items"]

    def kill(self, machine: str) -> None:
        """Kill what runs a machine, as a crash of its host would, and wait until it is seen to be gone."""
        from stoneware.platforms.local.platform import LocalPlatform
        from stoneware.platforms.local.store.images import LocalImageStore

        platform = LocalPlatform(LocalImageStore.open(self.program.home))
        running = platform.observe(f"{self.name}-{machine}")
        assert running is not None
        assert running.leader is not None
        status = Path(f"/proc/{running.leader}/status").read_text()
        parent = re.search(r"^PPid:\s+(\d+)$", status, re.MULTILINE)
        assert parent is not None
        os.kill(int(parent[1]), signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{running.leader}").exists(), f"{machine} is gone")

    def leftovers(self) -> dict[str, list[str]]:
        """Return what there is of the cluster: machines, disks, networks, secrets, its own directory."""
        from stoneware.platforms.local.platform import LocalPlatform
        from stoneware.platforms.local.store.images import LocalImageStore

        platform = LocalPlatform(LocalImageStore.open(self.program.home))
        directory = self.program.home / "clusters" / self.name
        found = {
            "machines": [machine.name for machine in platform.machines()],
            "volumes": [volume.name for volume in platform.volumes()],
            "networks": [network.name for network in platform.networks()],
        }
        ours = {kind: [name for name in names if name.startswith(self.name)] for kind, names in found.items()}
        secrets = sorted(path.stem for path in (self.program.home / "data/secrets").glob(f"{self.name}*"))
        return ours | {"secrets": secrets, "directory": sorted(path.name for path in directory.glob("*"))}


def wait_for(done: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Ask again and again until the answer is true. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
