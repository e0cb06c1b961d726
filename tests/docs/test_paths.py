"""The paths of docs/architecture.md name modules that exist."""

import importlib.util
import re
from pathlib import Path

import pytest

_PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
_STEP = re.compile(r"^  → [a-z]+ +((?:[a-z_]+\.)+[a-z_]+) ", re.MULTILINE)
NAMES = _STEP.findall(_PAGE.read_text())


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_a_step_names_a_module(name: str) -> None:
    assert importlib.util.find_spec(f"stoneware.{name}") is not None


def test_each_path_has_its_steps() -> None:
    parts = {name.partition(".")[0] for name in NAMES}
    assert parts >= {"bake", "cli", "cluster", "launch", "platforms", "rollout"}
