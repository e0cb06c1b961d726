"""Machines for the tests of the engine: each test has a name of its own and leaves nothing running."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stoneware.model.execution import Execution
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines.record import Paths, Processes, shown_processes
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from tests.platforms.awaiting import awaited


def need_controllers(*names: str) -> None:
    """Skip a test of limits on a host that cannot set them, as in a container without the controllers."""
    missing = set(names) - cgroups.controllers(cgroups.probe())
    if missing:
        pytest.skip(f"this computer has no control groups for {', '.join(sorted(missing))}")


class Bench:
    """A platform and the machines that one test makes on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store.open(home)
        self.platform = LocalPlatform(self.store)
        self.base = bases.base_identity(self.store, "debian:12")
        self.name = f"t-{secrets.token_hex(4)}"

    def spec(self, **options: Any) -> MachineSpec:
        return MachineSpec(**{"name": self.name, "source": f"checkpoint:{self.base}", **options})

    def boot(self, **options: Any) -> Machine:
        machine = self.platform.create(self.spec(**options))
        self.booted(machine.name)
        return machine

    def booted(self, name: str = "") -> None:
        awaited(self.platform, name or self.name, Phase.RUNNING)

    def paths(self, name: str = "") -> Paths:
        return Paths(self.store.data / "machines" / (name or self.name))

    def processes(self) -> Processes:
        return shown_processes(self.paths())

    def read(self, path: str) -> str:
        """Return a file as the running machine sees it."""
        leader = self.processes().leader
        assert leader is not None
        return Path(f"/proc/{leader}/root{path}").read_text()

    def sh(self, script: str, **options: Any) -> int:
        return self.platform.execute(self.name, ["sh", "-c", script], Execution(**options))


@contextmanager
def bench(home: Path) -> Iterator[Bench]:
    made = Bench(home)
    try:
        yield made
    finally:
        for machine in made.platform.machines():
            if machine.name.startswith(made.name):
                made.platform.destroy(machine.name)
        for volume in made.store.volumes():
            if volume.name.startswith(made.name):
                made.store.remove_volume(volume.name)
