"""The interpolation program, under every awk here, against cases and a second reading of the grammar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.config import oracle
from tests.config.awks import PRESENT, every_awk, interpolate

pytestmark = pytest.mark.tool
CASES = json.loads((Path(__file__).parent / "cases" / "interpolation.json").read_text())

# Cases about the beginning and the end of a file mean most as a file of their own.
EDGES = {"empty file", "dollar at the end", "only newlines", "no newline at the end", "byte order mark"}


def expected_faults(case):
    return [(*fault, *[""] * (4 - len(fault))) for fault in case.get("faults", [])]


def case_values(case):
    return {key: value.encode() for key, value in {**CASES["values"], **case.get("values", {})}.items()}


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_oracle_agrees_with_the_cases(case):
    result, wrong = oracle.render(case["template"].encode(), case_values(case))
    if "result" in case:
        assert (result.decode(), wrong) == (case["result"], [])
    else:
        shown = [(w.line, w.kind, w.name, w.message.replace("\n", "\\n")) for w in wrong]
        assert list(dict.fromkeys(shown)) == expected_faults(case)


@every_awk
def test_cases_in_one_document(awk, tmp_path):
    simple = [case for case in CASES["cases"] if "result" in case and "values" not in case]
    document = "\n\x1e\n".join(case["template"] for case in simple).encode()
    got = interpolate(awk, document, values=case_values({}), directory=tmp_path)
    assert (got.code, got.err) == (0, b"")
    assert got.out.decode().split("\n\x1e\n") == [case["result"] for case in simple]


@every_awk
def test_cases_alone(awk, tmp_path):
    wrong = []
    for case in CASES["cases"]:
        if "result" in case and "values" not in case and case["name"] not in EDGES:
            continue
        got = interpolate(awk, case["template"].encode(), values=case_values(case), directory=tmp_path)
        good = (got.code, got.out, got.err) == (0, case.get("result", "").encode(), b"")
        if "faults" in case:
            good = (got.code, got.out) == (2, b"")
            good = good and list(dict.fromkeys(got.faults())) == expected_faults(case)
            lines = got.err.split(b"\n")
            good = good and len(set(lines)) == len(lines)  # the same fault of a line is said once
        if not good:
            wrong.append((case, got))
    assert wrong == []


NAMES = ["A", "B", "_c", "D9", "UNSET", "U2"]
PIECES = [
    *("$", "$$", "${", "}", "{", "${}", "\\", "&", "\\&", "'", '"', "`", "%s", "\t", " ", "=", "!", "/", ":"),
    *(":-", "-", ":?", "?", ":+", "+", "\n", "\r\n", "\r", "text", "é", "漢", "]]>", "$(id)", ".", "1"),
    *("\x01", "\x7f", "\x0b", "\x0c", "\u2028"),
    *NAMES,
    *(f"${name}" for name in NAMES),
    *(f"${{{name}" for name in NAMES),
    *(f"${{{name}}}" for name in NAMES),
    *(f"${{{name}{op}" for name in NAMES[3:] for op in (":-", "-", ":?", "?", ":+", "+")),
]
piece = st.sampled_from([*(text.encode() for text in PIECES), b"\xff", b"\xc3", b"\x80"])
any_document = st.lists(piece, max_size=40).map(b"".join)


def nested(inner):
    name = st.sampled_from(NAMES)
    operator = st.sampled_from([":-", "-", ":?", "?", ":+", "+"])
    branch = st.lists(inner, max_size=4).map("".join)
    return st.builds(lambda n, o, text: f"${{{n}{o}{text}}}", name, operator, branch)


leaf = st.sampled_from(
    ["$$", "x", " ", "\n", "é", "{}", "a&b", *(f"${n}." for n in NAMES), *(f"${{{n}}}" for n in NAMES)]
)
expressions = st.lists(st.recursive(leaf, nested, max_leaves=12), max_size=25)
formed_document = expressions.map(lambda parts: "".join(parts).encode())
byte = st.one_of(st.sampled_from(b"\\nr$}{&\n\r'\"`%=\xc3"), st.integers(1, 255))
value = st.lists(byte, max_size=12).map(bytes)
values_strategy = st.dictionaries(st.sampled_from(NAMES[:4]), value, max_size=4)
relaxed = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@relaxed
@given(document=st.one_of(any_document, formed_document), values=values_strategy)
@example(document=b"", values={})
@example(document=b"${A:-$${B}}$\n${A:-{}} ${B", values={"B": b"\\\\n\n"})
def test_every_awk_renders_as_the_oracle_does(tmp_path, document, values):
    result, wrong = oracle.render(document, values)
    outcomes = {
        name: interpolate(awk, document, values=values, directory=tmp_path) for name, awk in PRESENT.items()
    }
    first = next(iter(outcomes.values()))
    assert all(outcome == first for outcome in outcomes.values())
    if wrong:
        assert (first.code, first.out) == (2, b"")
        seen = [(line, kind, name) for line, kind, name, _ in first.faults()]
        assert list(dict.fromkeys(seen)) == list(dict.fromkeys((w.line, w.kind, w.name) for w in wrong))
        told = [message for _, kind, _, message in first.faults() if kind == "required"]
        assert set(told) <= {as_printed(w.message) for w in wrong}
    else:
        assert (first.code, first.out, first.err) == (0, result, b"")


def as_printed(message: str) -> str:
    return message.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


@relaxed
@given(document=st.one_of(any_document, formed_document))
@example(document=b"$A ${A:-x\\y\\\\n\t\r\n${B-$$}$C}")
def test_every_awk_lists_the_variables_the_oracle_finds(document):
    found, wrong = oracle.uses(document)
    outcomes = {name: interpolate(awk, document, mode="list") for name, awk in PRESENT.items()}
    first = next(iter(outcomes.values()))
    assert all(outcome == first for outcome in outcomes.values())
    if wrong:
        assert (first.code, first.out) == (2, b"")
        assert {fault[0] for fault in first.faults()} == {w.line for w in wrong}
        return
    rows = []
    for use in found:
        text = as_printed((use.default or "").replace("\\", "\\\\"))
        need = "required" if use.required else "optional"
        rows.append("\t".join([use.name, need, str(use.line), text, use.form]))
    assert (first.code, first.out.decode("latin-1").split("\n")[:-1]) == (0, rows)


@relaxed
@given(document=formed_document, values=values_strategy)
def test_the_needs_of_a_template_fail_exactly_when_the_template_fails(tmp_path, document, values):
    awk = next(iter(PRESENT.values()))
    needs = interpolate(awk, document, mode="needs")
    assert needs.code == 0
    texts = [row.split(b"\t", 1)[1] for row in needs.out.split(b"\n")[:-1]]
    for text in texts:
        assert text.startswith(b"$")
    raw = b"\n".join(text.replace(b"\\n", b"\n") for text in texts)
    whole = interpolate(awk, document, values=values, directory=tmp_path)
    short = interpolate(awk, raw, values=values, directory=tmp_path)
    assert short.code == whole.code
    assert {fault[1:3] for fault in short.faults()} == {fault[1:3] for fault in whole.faults()}
