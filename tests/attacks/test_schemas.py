"""Schemas and templates of others: what would never end is refused, or ended."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stoneware.config.render import MOST_TEMPLATE, TemplateError, render_template
from stoneware.config.schema import check_schema, load_schema, violations
from stoneware.errors import InputError
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import ResolvedBase
from stoneware.untrusted.bounded import BoundsError, time_limit

FROM = "FROM debian:12\n"

DEEP: dict[str, object] = {}
for _ in range(100):
    DEEP = {"properties": {"A": DEEP}}

DOUBLING = {
    "allOf": [{"$ref": "#/$defs/d0"}],
    "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(25)} | {"d25": {}},
}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"properties": {"A": {"$ref": "#/properties/A"}}},
        {"properties": {"A": {"$ref": "#/properties/B"}, "B": {"$ref": "#/properties/A"}}},
        {
            "properties": {"A": {"not": {"$ref": "#/$defs/x"}}},
            "$defs": {"x": {"anyOf": [{"$ref": "#/$defs/x"}]}},
        },
        {"$ref": "#foo", "$defs": {"a": {"$anchor": "foo"}}},
        {"$dynamicRef": "#x"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$id": "https://example.com/", "$ref": "#"},
        DEEP,
        DOUBLING,
        {"properties": {"A": {"pattern": "(" * 900}}},
        {"properties": {"A": {"pattern": "a" * 10_000}}},
        {"properties": {"A": {"pattern": "a{99999999999999999999}"}}},
        {"patternProperties": {"(": {}}},
        [],
        None,
    ],
    ids=lambda schema: repr(schema)[:40],
)
def test_schemas_that_would_never_end_are_refused_while_baking(schema: object) -> None:
    with pytest.raises(InputError):
        check_schema(schema)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"1" * 5_000, b" " * (2 << 20), b"{"]
)
def test_schemas_that_are_none(text: bytes) -> None:
    with pytest.raises(InputError):
        load_schema(text)


def test_references_that_end_are_followed() -> None:
    schema = {"properties": {"A": {"$ref": "#/$defs/port"}, "B": {"$ref": "#/$defs/port"}}}
    check_schema({**schema, "$defs": {"port": {"type": "integer"}}})


def test_a_schema_whose_pattern_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoneware.config.schema._PATIENCE", 0.2)
    schema = {"properties": {"A": {"type": "string", "pattern": "^(a+)+$"}}}
    check_schema(schema)
    with pytest.raises(InputError, match="takes longer"):
        violations(schema, {"A": "a" * 60 + "!"})


def in_a_thread(work: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:  # as in Terraform's provider
        return pool.submit(work).result()


def test_a_schema_whose_pattern_takes_for_ever_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"properties": {"A": {"type": "string", "pattern": "^(a+)+$"}}, "required": ["B"]}
    assert in_a_thread(lambda: violations(schema, {"A": "b"})) == violations(schema, {"A": "b"})
    monkeypatch.setattr("stoneware.config.schema._PATIENCE", 0.2)
    with pytest.raises(InputError, match="takes longer"):
        in_a_thread(lambda: violations(schema, {"A": "a" * 60 + "!"}))
    monkeypatch.setattr("stoneware.config.schema._PATIENCE", 5.0)
    assert in_a_thread(lambda: violations(schema, {"A": "a", "B": "x"})) == {}  # a new process does


def test_a_substitution_that_takes_for_ever_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = f"{FROM}ENV A={'a' * 200}\nENV B=${{A%b{'*a' * 40}}}\n"
    quick = f"{FROM}ENV A=abc\nENV B=${{A%c}} C=${{A//b/x}} D=${{A##*b}}\n"

    def env(text: str) -> object:
        return load_recipe(text, resolve_base=lambda _: ResolvedBase("base", "x")).target.config.env

    assert in_a_thread(lambda: env(quick)) == env(quick)
    monkeypatch.setattr("stoneware.machinefile.lex._PATIENCE", 0.2)
    with pytest.raises(InputError, match="takes longer"):
        in_a_thread(lambda: env(slow))


def test_the_time_limit_leaves_other_timers() -> None:
    before = signal.getsignal(signal.SIGPROF)
    signal.setitimer(signal.ITIMER_PROF, 3600)
    try:
        with pytest.raises(BoundsError), time_limit(0.05):
            re.match("(a+)+$", "a" * 40 + "b")
        assert 3000 < signal.getitimer(signal.ITIMER_PROF)[0] < 3600
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    assert signal.getsignal(signal.SIGPROF) is before


def test_a_template_that_is_too_large() -> None:
    with pytest.raises(TemplateError, match="larger than"):
        render_template(b"x" * (MOST_TEMPLATE + 1), {}, filename="big.conf")
