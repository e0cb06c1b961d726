"""How an error is shown: what happened, the detail that matters, the next thing to type."""

from __future__ import annotations

from stoneware.errors import StonewareError
from stoneware.ui.hints import completed, completed_quotes
from stoneware.untrusted.visible import visible

_RED = "\x1b[1;31m"
_BOLD = "\x1b[1m"
_PLAIN = "\x1b[0m"


def render_error(error: StonewareError, *, colour: bool = False) -> str:
    """Return an error as lines for stderr: `error: where: brief`, indented details, `→ resolution`."""
    where = f"{visible(error.location)}: " if error.location else ""
    label = f"{_RED}error:{_PLAIN}" if colour else "error:"
    first, *more = _lines(error.brief) or [""]
    lines = [f"{label} {where}{first}"]
    lines += [f"  {line}".rstrip() for line in (*more, *_lines(completed_quotes(error.details)))]
    for number, line in enumerate(_lines(completed(error.resolution))):
        text = f"{'→' if number == 0 else ' '} {line}"
        lines.append(f"{_BOLD}{text}{_PLAIN}" if colour else text)
    return "\n".join(lines) + "\n"


def _lines(text: str) -> list[str]:
    """Return the lines of a text, each safe to look at; what follows a line end stays inside the error."""
    lines = text.rstrip("\n").split("\n") if text else []
    return [visible(line.rstrip("\r"), keep="\t") for line in lines]
