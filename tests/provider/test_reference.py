"""docs/provider.md says what the provider can do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware import __version__
from stoneware.provider.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "provider.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference(), "run make docs"


def test_the_example_names_this_version() -> None:
    assert set(re.findall(r'version = "([^"]+)"', reference())) == {__version__}


@pytest.mark.tool
def test_it_is_written_to_a_file(tmp_path: Path) -> None:
    page = tmp_path / "provider.md"
    subprocess.run([sys.executable, "-m", "stoneware.provider.reference", page], check=True)
    assert page.read_text() == reference()
