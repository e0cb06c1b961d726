"""Fixtures of the rollout tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rollout.bench import RolloutBench

# Each kill has a journal of its own, and each of its lines is written through to what it is on.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """Give a directory that is on no disk, where there is such a file system."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        yield Path(directory)


@pytest.fixture
def artifacts() -> Path:
    """Return the directory for what people may want to look at after a test run; Git ignores it."""
    directory = Path(__file__).parents[2] / "build" / "artifacts"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RolloutBench:
    """Give the cluster `shop`, up on machines in memory, with no calls noted yet."""
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    found = RolloutBench(tmp_path / "clusters")
    found.up()
    found.platform.calls.clear()
    return found
