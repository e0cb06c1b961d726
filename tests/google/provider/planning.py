"""What a resource is to be: its configuration, with defaults, what it has, and what is not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.provider.values import Unknown
from tests.google.provider.documents import LABELS, Field, Table, alike, of, same
from tests.google.provider.schema import Block, Nested, Values

Path = list[Any]
ATTRIBUTION = "goog-terraform-provisioned"


class Planner:
    """Plans one resource; `replaced` are the paths of what takes another object."""

    def __init__(self) -> None:
        self.replaced: list[Path] = []

    def block(self, block: Block, table: Table, have: Values | None, wanted: Values, path: Path) -> Values:
        """Plan a block. `have`: None for one that is new."""
        planned: Values = {}
        for name, attribute in block.attributes.items():
            old = have.get(name) if have is not None else None
            value = self._wanted(of(table, name), wanted.get(name), computed=attribute.computed)
            if value is Unknown and wanted.get(name) is None and have is not None:
                planned[name] = old
            else:
                planned[name] = self._attribute(of(table, name), have, old, value, [*path, name])
        for name, nested in block.blocks.items():
            old = have.get(name) if have is not None else None
            planned[name] = self._nested(nested, of(table, name), old, wanted.get(name), [*path, name])
        return planned

    def _wanted(self, entry: Field, value: Any, *, computed: bool) -> Any:
        if value is not None:
            return value if value is Unknown else entry.kind.planned(value)
        return Unknown if entry.default is None and computed else entry.default

    def _attribute(self, entry: Field, have: Values | None, old: Any, value: Any, path: Path) -> Any:
        if have is None:
            return value
        if same(entry, old, value):
            return old
        if entry.replaces:
            self.replaced.append(path)
        return value

    def _nested(self, nested: Nested, entry: Field, old: Any, wanted: Any, path: Path) -> Any:
        if nested.nesting == "single" or wanted is Unknown:
            return wanted
        if not wanted and entry.keeps:
            return Unknown if old is None else old
        if nested.nesting == "set":
            return self._set(nested, entry, old, wanted or [], path)
        if old is not None and len(old) != len(wanted or []) and entry.replaces:
            self.replaced.append(path)
        return [
            self.block(
                nested.block, entry.fields, old[at] if old and at < len(old) else None, one, [*path, (at,)]
            )
            for at, one in enumerate(wanted or [])
        ]

    def _set(self, nested: Nested, entry: Field, old: Any, wanted: list[Values], path: Path) -> Any:
        planned = [self.block(nested.block, entry.fields, None, one, path) for one in wanted]
        if old is None or alike(old) == alike(planned):
            return planned if old is None else old
        if entry.replaces:
            self.replaced.append(path)
        return planned


def plan_labels(
    planned: Values, have: Values | None, defaults: Mapping[str, str], *, attributed: bool
) -> None:
    """Plan all labels: those of the configuration, those of Terraform, and those that others have added."""
    if "effective_labels" not in planned:
        return
    own = planned["labels"]
    if own is Unknown or Unknown in (own or {}).values():
        planned |= {"terraform_labels": Unknown, "effective_labels": Unknown}
        return
    old = {name: (have or {}).get(name) or {} for name in LABELS}
    if have is not None:
        attributed = ATTRIBUTION in old["terraform_labels"]
    ours = {**defaults, **(own or {}), **({ATTRIBUTION: "true"} if attributed else {})}
    others = {
        key: text for key, text in old["effective_labels"].items() if key not in old["terraform_labels"]
    }
    planned |= {"terraform_labels": ours, "effective_labels": others | ours}


def read_labels(values: Values, labels: Mapping[str, str], before: Values) -> None:
    """Put the labels that a resource has into its state; each kind shows those that it is about."""
    if "effective_labels" not in values:
        return
    values["effective_labels"] = dict(labels)
    for name in ("labels", "terraform_labels"):
        own = before.get(name)
        found = {key: text for key, text in labels.items() if key in (own or {})}
        values[name] = found if found or own is not None else None
    if before.get("terraform_labels") is None:  # as after an import
        values["terraform_labels"] = {}
