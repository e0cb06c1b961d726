"""What every test shares: unmarked tests are `pure`."""

from __future__ import annotations

import pytest

TIERS = {"pure", "tool", "machine"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not TIERS & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.pure)
