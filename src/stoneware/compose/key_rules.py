"""What becomes of a key of the Compose format, and how the tables of keys say it."""

from __future__ import annotations

from enum import StrEnum

from stoneware.dataclass import dataclass


class Outcome(StrEnum):
    """What becomes of a key."""

    ACTS = "acts"
    WARNED = "warned"
    REFUSED = "refused"


@dataclass(frozen=True)
class Key:
    """What becomes of one key. `why` says what it does here, what is lost, or what to write instead.

    `harmless` are values (in small letters; nothing is an empty text) that say what is so anyway.
    """

    outcome: Outcome
    why: str
    harmless: tuple[str, ...] = ()


def acts(why: str) -> Key:
    """Return the rule of a key that has its effect."""
    return Key(Outcome.ACTS, why)


def warned(why: str, *harmless: str) -> Key:
    """Return the rule of a key without an effect, of which a warning tells."""
    return Key(Outcome.WARNED, why, harmless)


def refused(why: str, *harmless: str) -> Key:
    """Return the rule of a key that is refused."""
    return Key(Outcome.REFUSED, why, harmless)


FALSE = ("false", "no", "off", "n", "")  # as `harmless`: the key is not wanted anyway
