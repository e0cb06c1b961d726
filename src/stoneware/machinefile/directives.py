"""The parser directive `# check=…`: which warnings a Machinefile does not want, or wants as errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

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


def check_directive(lines: Sequence[str]) -> CheckDirective:
    """Return what the directives at the top of a file say; what they do not say is not asked for."""
    for line in lines:
        found = _DIRECTIVE.match(line.strip())
        if found is None or found[1].lower() not in _KNOWN:
            break
        if found[1].lower() == "check":
            settings = dict(part.strip().partition("=")[::2] for part in found[2].split(";"))
            skip = (name.strip().lower() for name in settings.get("skip", "").split(","))
            return CheckDirective(frozenset(filter(None, skip)), settings.get("error", "").lower() == "true")
    return CheckDirective()
