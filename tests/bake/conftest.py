"""Bakes by the program as users run it, each test with a context of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stoneware.process import run
from tests import commands
from tests.bake.faults import Baking

PROGRAM = Path(sys.executable).parent / "stoneware"


@dataclass
class Context:
    """A build context and the store it is baked in."""

    path: Path
    home: Path
    name: str
    stamp: str = field(default_factory=lambda: str(time.time_ns()))  # a store that is kept has older ones

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Checkpoints are shared by content: each test's first step is its own.
            path.write_text(
                text.replace("FROM debian:12\n", f"FROM debian:12\nENV TEST={self.name}-{self.stamp}\n")
            )

    def commit(self) -> str:
        """Have Git keep all of the context, and return the commit."""
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "1")):
            run(["git", *words], cwd=self.path)
        return run(["git", "rev-parse", "HEAD"], cwd=self.path).stdout.strip()

    def start(self, *words: str, before: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        env = {**os.environ, "STONEWARE_HOME": str(self.home), **options.pop("env", {})}
        return subprocess.Popen(
            [*before, str(PROGRAM), *words],
            cwd=self.path,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *words: str, code: int = 0, **options: Any) -> tuple[str, str]:
        if options.keys() <= {"env"}:
            env = {**os.environ, "STONEWARE_HOME": str(self.home), **options.get("env", {})}
            done = commands.run(words, env=env, cwd=self.path)
            assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            return done.stdout, done.stderr
        process = self.start(*words, **options)
        out, err = process.communicate()
        assert process.returncode == code, f"{words}: {process.returncode}\n{out}\n{err}"
        return out, err

    def bake(self, *words: str, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(
            self.run("bake", "-t", self.name, "--json", *words, ".", **options)[0]
        )
        return result

    def plan(self, *words: str) -> dict[str, Any]:
        out, _ = self.run("bake", "-t", self.name, "--plan", "--json", *words, ".")
        result: dict[str, Any] = json.loads(out)
        return result

    def actions(self, *words: str) -> list[tuple[str, str]]:
        return [(step["action"], step["reason"]) for step in self.plan(*words)["steps"]]

    def rootfs(self, result: dict[str, Any]) -> Path:
        hex_id: str = result["image_id"].removeprefix("sha256:")
        return self.home / "data/images" / hex_id / "rootfs"


@pytest.fixture
def context(machine_home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Context:
    name = request.node.name.replace("_", "-").split("[")[0].lower()[:60].strip("-")
    path = tmp_path / "context"
    path.mkdir()
    return Context(path, machine_home, name)


@pytest.fixture
def start_bake(context: Context) -> Iterator[Callable[..., Baking]]:
    """Start bakes of the test's context, or of another; those that still run at the end are killed."""
    with contextlib.ExitStack() as stack:

        def start(*words: str, of: Context = context, **options: Any) -> Baking:
            baking = Baking(of.start, of.name, of.home, *words, **options)
            stack.callback(baking.close)
            return baking

        yield start
