"""The blocks of the reference page are cluster files that load, and it knows every key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from stoneware.compose import schema
from stoneware.compose.key_rules import Outcome
from stoneware.compose.keys import KEYS
from stoneware.compose.load import load_cluster
from stoneware.compose.reference import with_table
from stoneware.compose.schema_parts import Part
from tests.docs.blocks import Block, blocks_of

PAGE = Path(__file__).parents[2] / "docs" / "machines-yaml.md"
# Done before there is a schema to look at: files are read and put together.
SECTIONS: dict[str, type[Part]] = dict(schema.SECTIONS.items())
UNDONE = {"services.*": {"extends"}}
BLOCKS = [block for block in blocks_of(PAGE) if block.language == "yaml"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_every_file_of_the_page_loads(block: Block, tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text(block.text)
    cluster = load_cluster(None, directory=tmp_path, environment={"HOME": "/root"}, project_name="demo")
    assert cluster.machines


def test_there_are_blocks() -> None:
    assert len(BLOCKS) > 5


def models(model: type[Part]) -> set[type[Part]]:
    """Return a model and those inside it."""
    inner = (found for field in model.model_fields.values() for found in models_in(field.annotation))
    return {model}.union(*(models(each) for each in inner))


def models_in(annotation: object) -> list[type[Part]]:
    """Return the models that a field's type names."""
    names = re.findall(r"stoneware\.compose\.(schema\w*)\.(\w+)", str(annotation))
    return [getattr(sys.modules[f"stoneware.compose.{module}"], name) for module, name in names]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_knows_every_key(section: str) -> None:
    page = PAGE.read_text()
    # what Compose has for others and means nothing here
    silent = {"mode", "name", "app_protocol", "restart", "resources", "limits", "type"}
    keys = {key for model in models(SECTIONS[section]) for key in model.model_fields} - silent
    assert [key for key in sorted(keys) if not re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`", page)] == []


def test_the_table_of_keys_is_current() -> None:
    page = PAGE.read_text()
    assert page == with_table(page), "run make docs"


@pytest.mark.parametrize("pattern", [pattern for pattern in KEYS if pattern])
def test_the_table_says_of_each_key_what_the_schema_does(pattern: str) -> None:
    model = SECTIONS[pattern.partition(".")[0]]
    for step in pattern.split(".")[2:]:
        if step != "*":
            model = models_in(model.model_fields[step].annotation)[0]
    acts = {key for key, rule in KEYS[pattern].items() if rule.outcome is Outcome.ACTS}
    assert set(model.model_fields) - acts == set()
    assert acts - set(model.model_fields) <= UNDONE.get(pattern, set())
