"""The tables of methods in a page: `python -m stoneware.emulator.reference docs/emulator.md`."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from stoneware.emulator.apis import Api
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.discovery import load
from stoneware.emulator.fidelity import BEHIND
from stoneware.emulator.service import Service
from stoneware.emulator.store import Store
from stoneware.generated import with_part

_BEGIN = "<!-- the tables of methods, made by `make docs` from the code: -->\n"
_END = "<!-- its end -->\n"


def tables(some: Iterable[Api]) -> str:
    """Return a section for each API: which of its methods are served, and what stands behind them."""
    return "\n".join(_section(api) for api in some)


def _section(api: Api) -> str:
    served: dict[str, set[str]] = {}
    refused: dict[str, set[str]] = {}
    for method in api.document.methods.values():
        into = served if api.serves(method) else refused
        into.setdefault(method.collection, set()).add(f"`{method.verb}`")
    behind = BEHIND[api.document.name]
    rows = [
        f"| `{name}` | {behind[name]} | {', '.join(sorted(verbs))} |"
        f" {', '.join(sorted(refused.get(name, set()) - verbs))} |\n"
        for name, verbs in sorted(served.items())
    ]
    head = (
        f"### {api.document.title}\n\n| collection | what stands behind | served | 501 |\n|---|---|---|---|\n"
    )
    return head + "".join(rows)


def with_tables(page: str, made: str) -> str:
    """Return a page with the tables in the place of those it has. Raises ValueError where it has none."""
    return with_part(page, _BEGIN, _END, made)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as place, contextlib.closing(Store(Path(place))) as store:
        page.write_text(with_tables(page.read_text(), tables(Cloud(Service(load(), store)).apis)))
