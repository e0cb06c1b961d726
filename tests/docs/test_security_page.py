"""The page about security names every attack that is tested, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_attack_stands_on_the_page_and_each_link_is_a_test() -> None:
    named = set(re.findall(r"tests/attacks/(test_\w+\.py)", (ROOT / "docs/security.md").read_text()))
    assert named == {path.name for path in (ROOT / "tests/attacks").glob("test_*.py")}


def test_the_policy_leads_to_the_page() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
    assert "docs/security.md" in (ROOT / "README.md").read_text()
