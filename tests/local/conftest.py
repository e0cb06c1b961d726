"""The bench of the engine's machine tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.engine_lab import Bench, bench


@pytest.fixture
def lab(machine_home: Path) -> Iterator[Bench]:
    with bench(machine_home) as made:
        yield made
