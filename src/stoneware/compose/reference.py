"""The table of keys in a page: `python -m stoneware.compose.reference docs/machines-yaml.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from stoneware.compose.key_rules import Key
from stoneware.compose.keys import KEYS
from stoneware.generated import with_part

_BEGIN = "<!-- the table of keys, made by `make docs` from the code: -->\n"
_END = "<!-- its end -->\n"


def table() -> str:
    """Return the table of every key of the Compose format."""
    rows = [
        f"| `{_path(pattern, key)}` | {rule.outcome} | {_words(rule)} |\n"
        for pattern, keys in KEYS.items()
        for key, rule in sorted(keys.items())
    ]
    return "| key | here | why |\n|---|---|---|\n" + "".join(rows)


def _path(pattern: str, key: str) -> str:
    named = pattern.replace("services.*", "SERVICE").replace(".*", "[]")
    return f"{named}.{key}" if named else key


def _words(rule: Key) -> str:
    values = [f"`{value}`" for value in rule.harmless if value and value not in ("no", "off", "n", "yes")]
    text = f"{rule.why} ({', '.join(values)}: nothing to say.)" if values else rule.why
    return text.replace("|", "\\|")


def with_table(page: str) -> str:
    """Return a page with the table in the place of the one it has. Raises ValueError where it has none."""
    return with_part(page, _BEGIN, _END, table())


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text()))
