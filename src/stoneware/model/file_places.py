"""Where a machine can be given a file of its own: a secret or a config."""

from __future__ import annotations

import re

_BELOW_SECRETS = re.compile(r"[A-Za-z0-9_.-]{1,127}(?:/[A-Za-z0-9_.-]{1,127})*")
_ANYWHERE = re.compile(r"(?:/[^/\x00-\x1f\x7f]+)+")
_DOTS = re.compile(r"(?:.*/)?\.\.?(?:/.*)?")
_LONGEST = 255  # characters of a path below /run/secrets
_LONGEST_ABSOLUTE = 1024
_LONGEST_PART = 200  # bytes: beside the file one of a longer name is written first, and Linux keeps 255


def place_problem(target: str) -> str:
    """Say why no file of a machine can be there; nothing if one can.

    A target is a path below /run/secrets, whose names are those of variables too, or any absolute path.
    """
    if not target.startswith("/"):
        if len(target) > _LONGEST or not _BELOW_SECRETS.fullmatch(target) or _DOTS.fullmatch(target):
            return f"{target!r} is no file below /run/secrets, and no absolute path"
        return ""
    if not _ANYWHERE.fullmatch(target) or _DOTS.fullmatch(target):
        return f"{target!r} is no path of a file"
    longest = max(len(part.encode(errors="surrogatepass")) for part in target.split("/"))
    too_long = len(target) > _LONGEST_ABSOLUTE or longest > _LONGEST_PART
    return "the path of a file is too long" if too_long else ""
