"""Fixtures of the rollout tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def artifacts() -> Path:
    """Return the directory for what people may want to look at after a test run; Git ignores it."""
    directory = Path(__file__).parents[2] / "build" / "artifacts"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
