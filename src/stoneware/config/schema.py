"""The image's `config.schema.json`: JSON Schema over variables, which are texts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoneware.config.plain_schema import holds_plainly
from stoneware.config.schema_words import rule_in_words
from stoneware.errors import InputError
from stoneware.untrusted import apart
from stoneware.untrusted.bounded import BoundsError, depth_of, finite, no_constant, without_surrogates

SCHEMA_PATH = "/etc/stoneware/config.schema.json"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TYPES = {"string", "integer", "number", "boolean"}
_NUMERIC = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_VALUES = {"enum", "const", "default", "examples"}  # below these are values, no rules
# Below these are rules by a name, which may be that of a keyword.
_NAMED = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
MOST_BYTES = 1 << 20
DEEPEST = 32
_LONGEST_PATTERN = 1000  # characters
_MOST_RULES = 10_000
_PATIENCE = 5.0  # seconds for one check
Schema = dict[str, Any]


def load_schema(text: bytes, location: str = SCHEMA_PATH) -> Schema:
    """Return the schema of an image. Raises InputError where it is no usable JSON Schema for variables."""
    if len(text) > MOST_BYTES:
        raise _bad(f"the file is larger than {MOST_BYTES} bytes", location)
    if depth_of(text) > DEEPEST:
        raise _bad(f"nested deeper than {DEEPEST} levels", location)
    try:
        schema = json.loads(text.decode(), parse_constant=no_constant, parse_float=finite)
    except UnicodeDecodeError as error:
        raise _bad(f"not UTF-8 at byte {error.start + 1}", location) from None
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} (column {error.colno})"
        raise _bad(f"line {error.lineno}: {reason}", f"{location}:{error.lineno}") from None
    except BoundsError as error:
        raise _bad(f"it {error}", location) from None
    except ValueError:
        raise _bad("a number has too many digits", location) from None
    schema = without_surrogates(schema)
    check_schema(schema, location)
    return dict(schema)


def check_schema(schema: Any, location: str = SCHEMA_PATH) -> None:
    """Raise InputError, with all reasons, unless `schema` is a JSON Schema for variables."""
    import jsonschema.validators

    if not isinstance(schema, dict):
        raise _bad("the top level is not an object", location)
    # First: on such a schema the checks below would not end.
    if faults := list(_unbounded(schema)):
        raise _bad("\n".join(faults[:20]), location)
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    # The formats of the meta-schema count too: a pattern that is no regular expression is found here.
    meta = kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER)
    reasons = [
        f"{_pointer(error.absolute_path)}: {error.message}"
        for error in sorted(meta.iter_errors(schema), key=lambda error: list(map(str, error.absolute_path)))
    ]
    if not reasons:
        reasons = [*_misfits(schema), *_bad_references(schema)]
    if reasons:
        raise _bad("\n".join(reasons), location)


def _bad(details: str, location: str) -> InputError:
    return InputError(
        "the image's config schema is wrong",
        details=details,
        resolution='a start: {"type": "object", "properties": {"PORT": {"type": "integer"}}}',
        location=location,
    )


def _pointer(path: Any) -> str:
    return "/" + "/".join(str(part) for part in path)


def _misfits(schema: Schema) -> Iterator[str]:
    """Find what no set of variables can ever fulfil: variables are texts in one flat object."""
    if schema.get("type", "object") != "object":
        yield '/type: runtime config is an object of variables, so the type is "object"'
    for name, rule in schema.get("properties", {}).items():
        types = rule.get("type", "string") if isinstance(rule, dict) else "string"
        for kind in [types] if isinstance(types, str) else types:
            if kind not in _TYPES:
                yield f"/properties/{name}/type: a variable is string, integer, number or boolean, not {kind}"


def _unbounded(schema: Schema) -> Iterator[str]:
    """Find what a check of the schema, or with it, would never end with."""
    if _levels(schema) > DEEPEST:
        yield f"nested deeper than {DEEPEST} levels"
        return
    for key, value in _keywords(schema):
        if key in ("$dynamicRef", "$recursiveRef", "$id", "id", "$anchor", "$dynamicAnchor"):
            if isinstance(value, str):
                yield f"{key}: only $ref to #/… inside this file is followed"
        elif (
            key == "$ref" and isinstance(value, str) and value.startswith("#") and value[1:2] not in ("", "/")
        ):
            yield f"$ref {value}: only references of the form #/$defs/… are followed"
        elif key in ("pattern", "patternProperties"):
            yield from _bad_patterns(value)
    if not list(_bad_references(schema)):
        yield from _endless(schema, schema, [], {})


def _levels(node: Any) -> int:
    # Not by recursion: what is measured is the depth that a recursion must not meet.
    deepest, left = 0, [(node, 1)]
    while left:
        node, level = left.pop()
        deepest = max(deepest, level)
        if level <= DEEPEST and isinstance(node, dict | list):
            children = node.values() if isinstance(node, dict) else node
            left += [(child, level + 1) for child in children]
    return deepest


def _keywords(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield each keyword with its value: of the schema, of all rules in it, and of what they refer to."""
    left: list[tuple[Any, bool]] = [(schema, False)]
    seen: set[tuple[int, bool]] = set()
    while left:
        node, named = left.pop()
        if (id(node), named) in seen or not isinstance(node, dict | list):
            continue
        seen.add((id(node), named))
        if isinstance(node, list):
            left += [(child, False) for child in node]
            continue
        for key, child in node.items():
            if named:  # the key is a name of the user's, whatever it is
                left.append((child, False))
            elif key not in _VALUES:
                yield key, child
                left.append((child, key in _NAMED))
                if key == "$ref" and isinstance(child, str) and child.startswith("#"):
                    left.append((_target(schema, child), False))


def _bad_patterns(value: Any) -> Iterator[str]:
    patterns = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
    for pattern in patterns:
        if len(pattern) > _LONGEST_PATTERN:
            yield f"the pattern {pattern[:40]}… has more than {_LONGEST_PATTERN} characters"
            continue
        try:
            re.compile(pattern)
        except re.error:
            continue  # the check against the meta-schema says so, and where
        except (RecursionError, OverflowError) as error:
            yield f"the pattern {pattern[:80]} cannot be used: {error}"


def _endless(
    schema: Schema, node: Any, above: list[int], sizes: dict[int, int], *, named: bool = False
) -> Iterator[str]:
    """Follow references, and find those that lead back to themselves or multiply without measure."""
    if not isinstance(node, dict | list) or id(node) in sizes:
        return
    if id(node) in above:
        yield "a $ref leads back to itself: a variable is a text, there is nothing to go into"
        return
    rules = node.items() if isinstance(node, dict) else [("", child) for child in node]
    children = [(child, not named and key in _NAMED) for key, child in rules if named or key not in _VALUES]
    if not named and isinstance(node, dict) and isinstance(node.get("$ref"), str):
        children.append((_target(schema, node["$ref"]), False))
    size = 1
    for child, by_name in children:
        for fault in _endless(schema, child, [*above, id(node)], sizes, named=by_name):
            yield fault
            return
        size += sizes.get(id(child), 1)
    sizes[id(node)] = size
    if size > _MOST_RULES:
        yield f"with its references followed the schema has more than {_MOST_RULES} rules"


def _bad_references(schema: Schema) -> Iterator[str]:
    for reference in _references(schema):
        if not reference.startswith("#"):
            yield f"$ref {reference}: only references inside this file (#/$defs/…) are followed"
        elif _target(schema, reference) is None:
            yield f"$ref {reference}: there is nothing of that name in this file"


def _references(schema: Schema) -> Iterator[str]:
    for key, value in _keywords(schema):
        if key == "$ref" and isinstance(value, str):
            yield value


def _target(schema: Any, reference: str) -> Any:
    node = schema
    for part in reference.removeprefix("#").split("/")[1:]:
        # In this order, as RFC 6901 says, or `~01` would become a slash.
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node


def rule_of(schema: Schema, name: str) -> Schema:
    """Return the rule of one variable with its references followed ({}: no rule)."""
    rule = schema.get("properties", {}).get(name)
    # In an image that was baked before this was refused, a $ref may lead back to itself.
    seen = set()
    while isinstance(rule, dict) and isinstance(rule.get("$ref"), str) and rule["$ref"] not in seen:
        seen.add(rule["$ref"])
        target = _target(schema, rule["$ref"])
        rest = {key: value for key, value in rule.items() if key != "$ref"}
        rule = {**target, **rest} if isinstance(target, dict) else rest
    return rule if isinstance(rule, dict) else {}


def named_variables(schema: Any) -> set[str]:
    """Return every variable that a schema names, in rules, requirements and conditions."""
    if not isinstance(schema, dict):
        return set()
    names = {*schema.get("properties", {}), *schema.get("required", ())}
    for key in ("dependentRequired", "dependencies", "dependentSchemas"):
        for name, needs in schema.get(key, {}).items():
            names |= {name, *needs} if isinstance(needs, list) else {name, *named_variables(needs)}
    for key in ("if", "then", "else", "not"):
        names |= named_variables(schema.get(key))
    for key in ("allOf", "anyOf", "oneOf"):
        for child in schema.get(key, ()):
            names |= named_variables(child)
    return names


def is_secret(schema: Schema, name: str) -> bool:
    """Tell whether the schema marks a variable as secret (`"secret": true` or `"writeOnly": true`)."""
    rule = rule_of(schema, name)
    return rule.get("secret") is True or rule.get("writeOnly") is True


def schema_defaults(schema: Schema | None) -> dict[str, str]:
    """Return the `default` of every variable that has one, as the text a machine gets."""
    if not schema:
        return {}
    rules = {name: rule_of(schema, name) for name in schema.get("properties", {})}
    return {name: as_text(rule["default"]) for name, rule in rules.items() if "default" in rule}


def as_text(value: Any) -> str:
    """Return a JSON value as the text of a variable: strings as they are, all else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def coerce(rule: Mapping[str, Any], text: str) -> Any:
    """Return a variable's text as the type its rule asks for, or the text where it cannot be read so."""
    kinds = rule.get("type")
    types = {kinds} if isinstance(kinds, str) else set(kinds or ())
    if not types:
        choices = [*rule.get("enum", ()), *([rule["const"]] if "const" in rule else ())]
        for choice in choices:
            if not isinstance(choice, str) and as_text(choice) == text:
                return choice
        # A rule such as `minimum` without a type means a number.
        types = {"number"} if _NUMERIC & set(rule) else {"string"}
    if types & {"integer", "number"} and _INTEGER.fullmatch(text):
        # Python takes quadratic time for the digits of an integer.
        return int(text) if len(text) < 300 else text
    if "number" in types and _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text  # no computer's number
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    return text


def violations(schema: Schema, values: Mapping[str, str]) -> dict[str, list[str]]:
    """Hold texts against the schema: variable (or "" for the whole) → broken rules in words.

    Missing variables are reported as the rule `required`. Values of secrets do not appear.
    """
    if holds_plainly(schema, {name: coerce(rule_of(schema, name), text) for name, text in values.items()}):
        return {}
    # Without patterns nothing takes long, and the threads of Terraform's provider need no other process.
    patterns = any(key in ("pattern", "patternProperties", "format") for key, _ in _keywords(schema))
    try:
        if not patterns:
            return broken_rules(schema, values)
        found: dict[str, list[str]] = apart.call(
            "stoneware.config.schema:broken_rules", schema, dict(values), seconds=_PATIENCE
        )
    except BoundsError as error:  # an image of an older Stoneware
        raise InputError(
            f"the image's config schema cannot be used with these values: it {error}",
            details=f"Patterns of {SCHEMA_PATH} such as (a+)+ take for ever on some texts.",
            resolution="change the schema, and bake the image again",
        ) from None
    return found


def broken_rules(schema: Schema, values: Mapping[str, str]) -> dict[str, list[str]]:
    """Do what `violations` does, without a limit of time. Raises BoundsError where no answer can be found."""
    import jsonschema.validators

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    data = {name: coerce(rule_of(schema, name), text) for name, text in values.items()}
    found: dict[str, list[str]] = {}
    try:
        for error in kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(data):
            for name, words in _blame(error, schema):
                rules = found.setdefault(name, [])
                if words not in rules:
                    rules.append(words)
    except (ArithmeticError, RecursionError):
        raise BoundsError("cannot be held against them") from None
    return found


def _blame(error: Any, schema: Schema) -> Iterator[tuple[str, str]]:
    path = [str(part) for part in error.absolute_path]
    if path:
        yield path[0], rule_in_words(error, secret=is_secret(schema, path[0]))
    elif error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield name, "required"
    elif error.validator in ("dependentRequired", "dependencies"):
        for name, needs in error.validator_value.items():
            if name in error.instance and isinstance(needs, list):
                yield from (
                    (need, f"required together with {name}") for need in needs if need not in error.instance
                )
    elif error.validator in ("additionalProperties", "unevaluatedProperties"):
        known = schema.get("properties", {})
        for name in error.instance:
            # The library names them in its message only.
            if name not in known and f"'{name}'" in error.message:
                yield name, "unknown"
    else:
        # It is about the config as a whole: the library's message would quote all of it, secrets too.
        yield "", rule_in_words(error, secret=True)
