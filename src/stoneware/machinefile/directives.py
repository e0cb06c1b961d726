"""The parser directives at the top of a Machinefile: `# syntax=…`, `# escape=…` and `# check=…`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stoneware.dataclass import dataclass

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_KNOWN = {"syntax", "escape", "check"}


@dataclass(frozen=True)
class CheckDirective:
    """What `# check=skip=RULE,RULE;error=true` asks for."""

    skip: frozenset[str] = frozenset()
    error: bool = False

    def skips(self, rule: str) -> bool:
        """Return whether warnings of a rule are not wanted."""
        return bool(rule) and ("all" in self.skip or rule.lower() in self.skip)


def _directives(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the names, in small letters, and the values of the directives; any other line ends them."""
    for line in lines:
        found = _DIRECTIVE.match(line.strip())
        if found is None or found[1].lower() not in _KNOWN:
            return
        yield found[1].lower(), found[2]


def escape_directive(lines: Sequence[str]) -> str:
    r"""Return the escape character that a file chooses: `\` or a backtick."""
    return next((value for name, value in _directives(lines) if name == "escape"), "\\")


def check_directive(lines: Sequence[str]) -> CheckDirective:
    """Return which warnings a file does not want, or wants as errors."""
    for name, value in _directives(lines):
        if name == "check":
            settings = dict(part.strip().partition("=")[::2] for part in value.split(";"))
            skip = (name.strip().lower() for name in settings.get("skip", "").split(","))
            return CheckDirective(frozenset(filter(None, skip)), settings.get("error", "").lower() == "true")
    return CheckDirective()
