"""The table of methods in a page: `python -m stoneware.emulator.reference docs/emulator.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from stoneware.emulator.discovery import Document, load
from stoneware.emulator.methods import handler
from stoneware.generated import with_part

_BEGIN = "<!-- the table of methods, made by `make docs` from the code: -->\n"
_END = "<!-- its end -->\n"


def table(document: Document) -> str:
    """Return the table of the collections that have a method that is served: which are, which are not."""
    served: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for method in document.methods.values():
        into = refused if handler(method) is None else served
        into.setdefault(method.collection, []).append(f"`{method.verb}`")
    rows = [
        f"| `{name}` | {', '.join(sorted(verbs))} | {', '.join(sorted(refused.get(name, [])))} |\n"
        for name, verbs in sorted(served.items())
    ]
    return "| collection | served | 501 |\n|---|---|---|\n" + "".join(rows)


def with_table(page: str, made: str) -> str:
    """Return a page with the table in the place of the one it has. Raises ValueError where it has none."""
    return with_part(page, _BEGIN, _END, made)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(), table(load())))
