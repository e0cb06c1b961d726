"""Truth values as Compose reads them."""

from __future__ import annotations

# Compose casts these words, and YAML 1.2 leaves them texts.
_WORDS = {
    **dict.fromkeys(("true", "y", "yes", "on"), True),
    **dict.fromkeys(("false", "n", "no", "off"), False),
}


def truth_of(value: object) -> bool | None:
    """Return the truth value that stands there, None where there is none."""
    if isinstance(value, bool):
        return value
    return _WORDS.get(value.lower()) if isinstance(value, str) else None
