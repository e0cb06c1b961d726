"""The examples' templates, defaults and schemas agree with each other, and refuse what they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoneware.config import BUILTINS
from stoneware.config.contract import check_config, derive_contract

pytestmark = pytest.mark.tool

EXAMPLES = Path(__file__).parents[2] / "examples"
ENV = {"hello": {"ACCENT": "#b5651d"}, "kafka": {}, "postgres": {}}
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases/configs.json").read_text())


def contract_of(example: str) -> dict[str, Any]:
    directory = EXAMPLES / example / "templates"
    templates = {
        f"/{path.relative_to(directory)}": path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
    schema = json.loads((EXAMPLES / example / "config.schema.json").read_text())
    return dict(derive_contract(templates, ENV[example], schema))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['example']} {case['config']}" for case in CASES])
def test_config_is_judged(case: dict[str, Any]) -> None:
    problems = check_config(contract_of(case["example"]), case["config"])

    named = [name for name in case["problems"] if any(name in problem for problem in problems)]
    assert named == case["problems"], problems
    assert len(problems) == len(case["problems"]), problems


@pytest.mark.parametrize("example", ENV)
def test_every_variable_of_the_templates_is_in_the_schema_and_the_other_way_round(example: str) -> None:
    variables = set(contract_of(example)["variables"]) - set(BUILTINS)
    schema = json.loads((EXAMPLES / example / "config.schema.json").read_text())

    assert variables == set(schema["properties"])


def test_the_machinefile_sets_the_defaults_that_are_assumed_here() -> None:
    lines = (EXAMPLES / "hello/Machinefile").read_text().splitlines()

    assert [line for line in lines if line.startswith("ENV ")] == ["ENV ACCENT=#b5651d"]
    for example in ("kafka", "postgres"):
        assert "\nENV " not in (EXAMPLES / example / "Machinefile").read_text()
