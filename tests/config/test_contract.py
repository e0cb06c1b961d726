from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoneware.config import Secret, TemplateError, effective_values, render_template
from stoneware.config.contract import (
    check_config,
    config_warnings,
    derive_contract,
    require_config,
    secret_names,
)
from stoneware.config.machine_secrets import secret_targets, secret_values
from stoneware.config.schema import load_schema
from stoneware.config.values import BUILTINS, builtin_values
from stoneware.errors import InputError
from stoneware.files import canonical_json

CASES = json.loads((Path(__file__).parent / "cases" / "contract.json").read_text())
pytestmark = pytest.mark.tool


def contract_of(case):
    templates = {path: text.encode() for path, text in case.get("templates", {}).items()}
    contract = derive_contract(templates, case.get("env", {}), case.get("schema"))
    return json.loads(canonical_json(contract))  # as it comes back out of a manifest


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case):
    contract = contract_of(case)
    given = case.get("given", {})
    assert check_config(contract, given, builtins=case.get("builtins")) == case["problems"]
    assert config_warnings(contract, given) == case.get("warnings", [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_no_problems_means_that_the_templates_render(case):
    everything = effective_values(
        contract_of(case)["env"], case.get("given", {}), builtin_values() | case.get("builtins", {})
    )
    unset = [text for text in case["problems"] if "needed by" in text]
    failed = 0
    for path, text in case.get("templates", {}).items():
        try:
            render_template(text.encode(), everything, filename=path)
        except TemplateError:
            failed += 1
    assert bool(failed) == bool(unset)


def test_the_contract_as_data():
    templates = {"/t/b": b"$A ${B:-x} ${C?}", "/t/a": b"\n${A:+$D}\n$STONEWARE_IP $E"}
    schema = {
        "properties": {"D": {"type": "integer", "default": 4, "secret": True}, "F": {}},
        "required": ["F"],
    }
    contract = derive_contract(templates, {"E": "env", "PATH": "/bin"}, schema)
    variables = contract["variables"]
    assert {name for name, entry in variables.items() if entry["required"]} == {"A", "C", "F"}
    assert variables["A"]["templates"] == ["/t/a:2", "/t/b:1"]
    assert variables["B"] == {
        "required": False, "secret": False, "builtin": False, "templates": ["/t/b:1"], "default": "x"
    }  # fmt: skip
    assert variables["D"] == {
        "required": False, "secret": True, "builtin": False, "templates": ["/t/a:2"], "default": "4"
    }  # fmt: skip
    assert variables["STONEWARE_IP"]["builtin"]
    assert variables["PATH"]["templates"] == []
    assert contract["env"] == {"D": "4", "E": "env", "PATH": "/bin"}
    assert {"text": "${A:+$D}", "at": ["/t/a:2"]} in contract["needs"]


def test_malformed_templates_are_reported_all_at_once():
    templates = {"/t/a": b"${", "/t/b": b"ok ${A}", "/t/c": b"\n${A!}${SET:-${}}\n"}
    with pytest.raises(TemplateError) as caught:
        derive_contract(templates, {"SET": "x"}, None)
    assert [(fault.file, fault.line) for fault in caught.value.faults] == [
        ("/t/a", 1),
        ("/t/c", 2),
        ("/t/c", 2),
    ]
    assert caught.value.brief == "the templates /t/a and /t/c have 3 faults"
    assert caught.value.details.startswith("/t/a:1: malformed ${: ")
    assert caught.value.exit_code == 2


def test_templates_that_are_not_utf8_have_a_contract():
    contract = derive_contract({"/t/a": b"\xff${A:-\xfe$B}\xff"}, {}, None)
    assert canonical_json(contract)
    assert check_config(contract, {}) == ["B is not set; needed by /t/a:1; give it with -e B=…"]


HOSTILE = ['it\'s\n"x"', "$A ${B} $(id) `id`", "a&b\\n", "]]>", "żółć", "%s", "multi\nline\n"]


@pytest.mark.parametrize("value", HOSTILE)
def test_secrets_stay_out_of_problems(value):
    schema = {"properties": {"KEY": {"type": "string", "secret": True, "maxLength": 1}}}
    contract = derive_contract({"/t/a": b"${NONE:?because of $KEY}"}, {}, schema)
    for given in (value, Secret(value)):
        problems = "\n".join(check_config(contract, {"KEY": given}))
        assert "KEY (a secret): must have at most 1 character" in problems
        assert value not in problems
        assert repr(value)[1:-1] not in problems
        assert "because of ********" in problems


def test_values_given_as_secret_are_secret_without_a_schema():
    contract = derive_contract({}, {}, None)
    assert secret_names(contract, {"A": Secret("x"), "B": "y"}) == {"A"}
    schema = {"properties": {"B": {"writeOnly": True}}}
    assert secret_names(derive_contract({}, {}, schema), {"A": "x", "B": "y"}) == {"B"}


def test_require_config_raises_with_everything_or_returns_warnings():
    contract = derive_contract({"/t/a": b"$A $B"}, {}, None)
    with pytest.raises(InputError) as caught:
        require_config(contract, {}, image="hello:latest")
    assert caught.value.brief == "hello:latest cannot start with this config: 2 problems"
    assert caught.value.details.count("\n") == 1
    assert caught.value.resolution.startswith("stoneware render hello:latest")
    assert len(require_config(contract, {"A": "1", "B": "2", "C": "3"}, image="hello")) == 1


def test_builtin_values():
    assert builtin_values(name="h1", slot="2") == {**BUILTINS, "STONEWARE_NAME": "h1", "STONEWARE_SLOT": "2"}
    with pytest.raises(KeyError):
        builtin_values(nmae="h1")
    everything = effective_values({"A": "env", "B": "env"}, {"B": "config", "C": "config"}, {"C": "built in"})
    assert everything == {"A": "env", "B": "config", "C": "built in"}


@pytest.mark.parametrize(
    ("text", "location", "details"),
    [
        (b"{", ":1", "not JSON"),
        (b'{\n"a": 1,\nx}', ":3", "line 3: not JSON"),
        (b"\xff", "", "not UTF-8"),
        (b"[]", "", "the top level is not an object"),
        (b'{"type": "array"}', "", "/type: runtime config is an object"),
        (b'{"properties": {"A": {"type": "list"}}}', "", "/properties/A/type: "),
        (b'{"properties": {"A": {"type": "object"}}}', "", "/properties/A/type: a variable is string"),
        (b'{"properties": {"A": {"pattern": "("}}}', "", "/properties/A/pattern: "),
        (b'{"properties": {"A": {"$ref": "https://example.org/x.json"}}}', "", "only references inside"),
        (b'{"properties": {"A": {"$ref": "#/$defs/none"}}}', "", "there is nothing of that name"),
        (b'{"required": "A", "properties": {"B": {"minimum": "x"}}}', "", "/required: "),
    ],
)
def test_wrong_schemas_say_what_and_where(text, location, details):
    with pytest.raises(InputError) as caught:
        load_schema(text)
    assert caught.value.location == f"/etc/stoneware/config.schema.json{location}"
    assert details in caught.value.details
    assert caught.value.resolution


def test_a_wrong_schema_reports_all_reasons():
    with pytest.raises(InputError) as caught:
        load_schema(b'{"required": "A", "properties": {"B": {"minimum": "x"}}}')
    assert caught.value.details.count("\n") == 1


def test_older_drafts_are_read_by_their_rules():
    schema = load_schema(
        b'{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"p": {"type": "integer"}},'
        b' "properties": {"A": {"$ref": "#/definitions/p"}}, "dependencies": {"A": ["B"]}}'
    )
    problems = check_config(derive_contract({}, {}, schema), {"A": "x"})
    assert problems == [
        "A='x': must be a whole number; give it with -e A=…",
        "B: required together with A; give it with -e B=…",
    ]


SECRETS = {
    "properties": {
        "DB_PASSWORD": {"secret": True, "minLength": 4},
        "api.key": {"writeOnly": True},
        "PLAIN": {},
        "PIN": {"type": "integer", "secret": True},
    },
    "required": ["DB_PASSWORD"],
}


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (["db-password"], {"DB_PASSWORD": "db-password"}),
        (["db.password"], {"DB_PASSWORD": "db.password"}),
        (["db-password", "DB_PASSWORD"], {"DB_PASSWORD": "DB_PASSWORD"}),
        (["db.password", "Db-Password"], {"DB_PASSWORD": "Db-Password"}),
        (["api.key"], {"api.key": "api.key"}),
        (["api-key", "PLAIN", "plain", "kafka/db-password", "DB_PASSWORD2"], {}),
    ],
)
def test_which_variables_secrets_are_for(targets, found):
    assert secret_targets(derive_contract({}, {}, SECRETS), targets) == found


def test_secrets_count_as_values_and_are_never_shown():
    contract = derive_contract({"/t/a": b"${DB_PASSWORD:?of the data base} $PLAIN"}, {}, SECRETS)
    plain = {"PLAIN": "x"}
    assert check_config(contract, plain, secrets={"other": Secret("y")}) != []
    assert check_config(contract, plain, secrets={"db-password": Secret("secret\n")}) == []
    assert check_config(contract, plain, secrets={"db-password": None, "PIN": None}) == []
    problems = check_config(contract, plain, secrets={"db-password": Secret("abc\n"), "PIN": Secret("12 34")})
    assert problems == [
        "DB_PASSWORD (a secret): must have at least 4 characters; it is the secret db-password",
        "PIN (a secret): must be a whole number; it is the secret PIN",
    ]
    (problem,) = check_config(contract, plain, secrets={"db-password": Secret("ab\0cd")})
    assert problem == "DB_PASSWORD (a secret): must not hold a NUL byte; it is the secret db-password"
    (problem,) = check_config(contract, plain, secrets={"db-password": Secret("\n")})
    assert problem.startswith("DB_PASSWORD (a secret): must not be empty, of the data base")
    assert problem.endswith("; it is the secret db-password")


def test_a_secret_wins_over_a_value_with_a_warning():
    contract = derive_contract({}, {"DB_PASSWORD": "from the image"}, SECRETS)
    secrets = {"db-password": Secret("right")}
    assert require_config(contract, {}, image="x", secrets=secrets) == []
    (warning,) = require_config(contract, {"DB_PASSWORD": "no"}, image="x", secrets=secrets)
    assert warning == "DB_PASSWORD is given as a value and by the secret db-password; the secret counts"


def test_of_a_secret_one_last_newline_is_no_part_of_the_value():
    contract = derive_contract({}, {}, SECRETS)
    given = {"db-password": Secret("a\r\n\n"), "PIN": None}
    assert secret_values(contract, given) == {"DB_PASSWORD": Secret("a\r\n"), "PIN": None}


@pytest.mark.parametrize("name", ["$id", "id", "$ref", "pattern", "default", "enum", "$anchor", "properties"])
def test_variables_may_have_the_names_of_keywords(name):
    schema = load_schema(json.dumps({"properties": {name: {"type": "integer", "minimum": 3}}}).encode())
    assert check_config(derive_contract({}, {}, schema), {name: "2"})
    assert not check_config(derive_contract({}, {}, schema), {name: "3"})


@pytest.mark.parametrize(
    ("rule", "details"),
    [
        ({"$id": "https://example.org/"}, "$id: only $ref"),
        ({"$anchor": "a"}, "$anchor: only $ref"),
        ({"$ref": "https://example.org/x.json"}, "only references inside"),
        ({"$ref": "#/$defs/none"}, "there is nothing of that name"),
        ({"pattern": "x" * 1001}, "has more than 1000 characters"),
        ({"properties": {"default": {"pattern": "x" * 1001}}}, "has more than 1000 characters"),
    ],
)
@pytest.mark.parametrize("name", ["PORT", "$id", "default", "const", "examples"])
def test_a_rule_is_looked_at_whatever_its_variable_is_called(name, rule, details):
    for schema in ({"properties": {name: rule}}, {"$defs": {name: rule}}, {"dependentSchemas": {name: rule}}):
        with pytest.raises(InputError) as caught:
            load_schema(json.dumps(schema).encode())
        assert details in caught.value.details


def test_a_reference_into_a_value_is_followed():
    value = {"$ref": "https://example.org/x.json"}
    schema = {"properties": {"A": {"default": value}, "B": {"$ref": "#/properties/A/default"}}}
    with pytest.raises(InputError) as caught:
        load_schema(json.dumps(schema).encode())
    assert "only references inside" in caught.value.details
    assert load_schema(b'{"properties": {"A": {"default": "{\\"$ref\\": 1}", "examples": [{"$ref": "x"}]}}}')


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(number):
    with pytest.raises(InputError):
        load_schema(f'{{"properties": {{"A": {{"minimum": {number}}}}}}}'.encode())
    schema = load_schema(b'{"properties": {"A": {"type": "number", "minimum": 1}}}')
    assert check_config(derive_contract({}, {}, schema), {"A": number})
    assert not check_config(derive_contract({}, {}, schema), {"A": "1e300"})
