"""The program as a user runs it, on the store all machine tests share."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import commands
from tests.processors import for_machine

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class Program:
    """`stoneware` with a store. Machines and volumes that a test makes are removed at its end."""

    home: Path
    machines: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def run(
        self, *words: str | Path, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "STONEWARE_HOME": str(self.home)}
        done = commands.run([*map(str, words)], cwd=cwd, env=env)
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str | Path) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def bake(self, name: str, context: Path) -> dict[str, Any]:
        result: dict[str, Any] = self.json("bake", "-t", name, context)
        return result

    def boot(self, name: str, *words: str) -> dict[str, Any]:
        """Run a machine, wait until it is healthy, and return it as `ps` shows it."""
        self.machines.append(name)
        virtual = "--vm" in words
        with for_machine(self.home / "data/machines" / name) if virtual else contextlib.nullcontext():
            self.run("run", "-d", "--wait", "--name", name, *words)
        return self.machine(name)

    def machine(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = [entry for entry in self.json("ps", "-a") if entry["name"] == name]
        assert len(found) == 1, f"machines named {name}: {found}"
        return found[0]

    def remove(self) -> None:
        for name in self.machines:
            self.run("rm", "-f", name, check=False)
        for name in self.volumes:
            self.run("volume", "rm", name, check=False)


@pytest.fixture
def program(machine_home: Path) -> Iterator[Program]:
    made = Program(machine_home)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def hello(machine_home: Path) -> Iterator[Program]:
    """The program, once the image hello is baked."""
    made = Program(machine_home)
    made.bake("hello", EXAMPLES / "hello")
    yield made
    made.remove()
