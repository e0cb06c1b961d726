"""docs/machine.md, made from the table of fields: `python -m stoneware.model.reference docs/machine.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from stoneware.model.machine_fields import FIELDS, Field

_HEAD = """\
# Fields of a machine

This page is generated from the table of a machine's fields (`make docs`); a test keeps it current.

Each field has the same name in Terraform and in the records of the store. The keys are those of a service in
[machines.yaml](machines-yaml.md), the options those of [`stoneware run`](cli.md#stoneware-run). Stoneware
itself sets the fields that have neither, most of them for builders. A machine that runs takes a change in
place on; any other change creates a new machine, with the same name and disks. In a cluster another
configuration or another value of a secret also creates a new machine, unless the image reloads (see
[Runtime config](runtime-config.md)).

| field | what it is | machines.yaml | `stoneware run` | a change |
|---|---|---|---|---|
"""


def reference() -> str:
    """Return the whole page."""
    return _HEAD + "".join(map(_row, FIELDS.values()))


def _row(field: Field) -> str:
    change = "in place" if field.in_place else "new machine"
    cells = (f"`{field.name}`", field.about, _code(field.keys), _code(field.options), change)
    return f"| {' | '.join(cells)} |\n"


def _code(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
