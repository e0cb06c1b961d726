"""The bench of the engine's machine tests, and a process that stands for one of a machine's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.engine_lab import Bench, bench


@pytest.fixture
def lab(machine_home: Path) -> Iterator[Bench]:
    with bench(machine_home) as made:
        yield made


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as made:
        yield made
        made.kill()
