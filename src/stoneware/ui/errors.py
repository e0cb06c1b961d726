"""How an error is shown: what happened, the detail that matters, the next thing to type."""

from __future__ import annotations

from stoneware.errors import StonewareError

_RED = "\x1b[1;31m"
_BOLD = "\x1b[1m"
_PLAIN = "\x1b[0m"


def render_error(error: StonewareError, *, colour: bool = False) -> str:
    """Return an error as lines for stderr: `error: where: brief`, indented details, `→ resolution`."""
    where = f"{error.location}: " if error.location else ""
    label = f"{_RED}error:{_PLAIN}" if colour else "error:"
    lines = [f"{label} {where}{error.brief}"]
    lines += [f"  {line}".rstrip() for line in error.details.splitlines()]
    for number, line in enumerate(error.resolution.splitlines()):
        text = f"{'→' if number == 0 else ' '} {line}"
        lines.append(f"{_BOLD}{text}{_PLAIN}" if colour else text)
    return "\n".join(lines) + "\n"
