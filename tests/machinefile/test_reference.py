"""The Machinefile reference: its examples are valid, and it leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.mounts import _KEYS
from stoneware.machinefile.syntax import _MANY_FLAGS, _SWITCHES, _TEXT_FLAGS, KEYWORDS
from tests.machinefile.support import resolve

TEXT = (Path(__file__).parents[2] / "docs" / "machinefile.md").read_text()
EXAMPLES = re.findall(r"^```Dockerfile\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_is_valid(example: str) -> None:
    recipe = load_recipe(example, filename="docs/machinefile.md", resolve_base=resolve)
    assert recipe.stages
    assert not recipe.warnings


def test_every_fence_is_an_example() -> None:
    settings = re.findall(r"^```toml$", TEXT, re.MULTILINE)  # read by tests/docs
    assert TEXT.count("```") == 2 * (len(EXAMPLES) + len(settings))
    assert len(EXAMPLES) > 10


def test_the_first_example_writes_a_template() -> None:
    heredoc = load_recipe(EXAMPLES[0], resolve_base=resolve).target.steps[-1].heredocs[0]  # type: ignore[attr-defined]
    assert heredoc.content == "${GREETING:-hello} from $STONEWARE_NAME\n"


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_every_instruction_is_explained(keyword: str) -> None:
    assert re.search(rf"^##.*\b{keyword}\b|^\| `{keyword}`", TEXT, re.MULTILINE)


@pytest.mark.parametrize(
    "flag",
    sorted({f for table in (_TEXT_FLAGS, _MANY_FLAGS, _SWITCHES) for flags in table.values() for f in flags}),
)
def test_every_flag_is_explained(flag: str) -> None:
    assert f"--{flag}" in TEXT


@pytest.mark.parametrize("key", _KEYS)
def test_every_mount_option_is_explained(key: str) -> None:
    assert re.search(rf"`{key}[`=]", TEXT)
