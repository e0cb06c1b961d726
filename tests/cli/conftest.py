from __future__ import annotations

import importlib
import io
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoneware.cli import commands, context, program
from tests.cli.fakes import HEALTHY, FakePlatform, FakeStore, FakeUpkeep

COMMANDS = [
    "bake",
    "cp",
    "disk_usage",
    "execute",
    "images",
    "inspect",
    "logs",
    "machines",
    "prune",
    "run",
    "update",
    "volume",
    "volume_disks",
    "volume_snapshots",
]


@dataclass
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(tmp_path / "store")


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def hello(store: FakeStore) -> str:
    return store.add_image(
        "hello", HEALTHY, {"/etc/motd": b"${GREETING} in ${ACCENT} on ${STONEWARE_NAME}\n"}
    )


@pytest.fixture
def cli(store: FakeStore, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the program on words and standard input, over the fakes."""
    # All of them first: one that was loaded below would keep the fakes for good.
    for found in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{found.name}")
    for name in COMMANDS:
        module = importlib.import_module(f"stoneware.cli.commands.{name}")
        monkeypatch.setattr(module, "open_store", lambda: store, raising=False)
        monkeypatch.setattr(module, "open_platform", lambda _=None, **__: platform, raising=False)
        monkeypatch.setattr(module, "open_upkeep", FakeUpkeep, raising=False)
    monkeypatch.setattr(context, "open_store", lambda **_: store)
    monkeypatch.setattr(context, "open_platform", lambda _=None, **__: platform)

    def run(*words: str, stdin: str = "") -> Result:
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        with monkeypatch.context() as streams:
            streams.setattr(sys, "stdout", out)
            streams.setattr(sys, "stderr", err)
            streams.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            code = program.run(words)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return Result(code, *texts)

    return run
