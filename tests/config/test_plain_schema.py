"""Values that are good without the library: never where it finds a fault, always in everyday schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.config.plain_schema import holds_plainly
from stoneware.config.schema import broken_rules, check_schema, coerce, rule_of
from stoneware.errors import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", ["string", "integer"]]),
        "enum": st.lists(st.sampled_from(["1", 1, True, 1.0, "a", ""]), min_size=1, unique_by=repr),
        "const": st.sampled_from(["1", 1, True, "a"]),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "minimum": st.sampled_from([0, 1, 1.5, -2]),
        "maximum": st.sampled_from([0, 1, 1.5, -2]),
        "multipleOf": st.just(2),
        "pattern": st.sampled_from(
            ["^a$", "^[0-9]+$", "^[a-c]{2}$", "a", "^#[0-9a-f]{2}$", "^(a|b)$", "^[^a]*$"]
        ),
        "format": st.just("date"),
        "not": st.just({"const": "a"}),
        "description": st.just("words"),
    },
)
NAMES = st.sampled_from(["A", "B"])
SCHEMAS = st.fixed_dictionaries(
    {"properties": st.dictionaries(NAMES, WORDS)},
    optional={
        "$schema": st.sampled_from(
            ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"]
        ),
        "required": st.lists(NAMES, unique=True),
        "additionalProperties": st.booleans(),
        "anyOf": st.just([{"required": ["A"]}]),
        "type": st.just("object"),
    },
)
TEXTS = st.sampled_from(
    ["", "a", "ab", "aa", "1", "-2", "1.5", "1e999", "true", "True", "#ff", "#ff\n", "1\n", "2", "abcd"]
)


@given(SCHEMAS, st.dictionaries(st.sampled_from(["A", "B", "C"]), TEXTS))
def test_what_is_good_here_is_good_for_the_library(schema: dict[str, Any], texts: dict[str, str]) -> None:
    try:
        check_schema(schema)
    except InputError:
        return
    values = {name: coerce(rule_of(schema, name), text) for name, text in texts.items()}
    if holds_plainly(schema, values):
        assert broken_rules(schema, texts) == {}


@pytest.mark.parametrize(
    ("example", "values"),
    [
        ("hello", {"GREETING": "hi", "ACCENT": "#00ff7f"}),
        ("kafka", {"CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw", "NODE_ID": "2", "LOG_LEVEL": "info"}),
    ],
)
def test_the_examples_need_no_library(example: str, values: dict[str, str]) -> None:
    schema = json.loads((EXAMPLES / example / "config.schema.json").read_text())
    typed = {name: coerce(rule_of(schema, name), text) for name, text in values.items()}
    assert holds_plainly(schema, typed)
    asked = f"""
import sys
from stoneware.config.schema import violations
assert violations({schema!r}, {values!r}) == {{}}
sys.exit("jsonschema" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


@pytest.mark.parametrize(
    "pattern",
    ["^a*a*a*b$", "^(a+)+$", "a*b", "^[a-z]+[a-z]+$", "^a{1,9}a*$", "^a", "^a?$", "^a|b$", "^[z-a]$"],
)
def test_a_pattern_that_may_take_long_or_is_of_another_form_is_left_to_the_library(pattern: str) -> None:
    schema = {"properties": {"A": {"pattern": pattern}}}
    assert not holds_plainly(schema, {"A": "a"})
    assert not holds_plainly(schema, {"A": "ab"})
