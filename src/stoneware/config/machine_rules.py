"""The part of a contract that a machine checks itself at boot, as the table its awk reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoneware.config.encoding import escape
from stoneware.config.schema import as_text, is_secret, rule_of
from stoneware.config.values import BUILTINS

_KINDS = ("integer", "number", "boolean")


def machine_rules(contract: Mapping[str, Any]) -> str:
    """Return `NAME<TAB>KIND<TAB>ARGUMENT` lines; KIND is required, integer, number, boolean, secret or enum.

    Rules that need more than POSIX tools (patterns, ranges, conditions) are left to the host, which has
    checked them before the machine was made; variables that templates need are found by rendering.
    """
    schema = contract["schema"] or {}
    rows: list[tuple[str, ...]] = [
        (name, "required")
        for name in schema.get("required", ())
        if name not in contract["env"] and name not in BUILTINS
    ]
    for name in sorted(schema.get("properties", {})):
        rows += [(name, "secret")] if is_secret(schema, name) and name not in BUILTINS else []
        rows += [(name, *rule) for rule in _rules(rule_of(schema, name))]
    # A name with a tab or a newline would be another row of the machine's table.
    return "".join("\t".join(row) + "\n" for row in rows if not any(set("\t\n") & set(cell) for cell in row))


def _rules(rule: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if rule.get("type") in _KINDS:
        yield (str(rule["type"]),)
    texts = [escape(as_text(choice)) for choice in rule.get("enum", ())]
    # A value with a tab has no place in the table; half a list would refuse what is allowed.
    if not any("\t" in text for text in texts):
        yield from (("enum", text) for text in texts)
