"""The `--name=value` flags of instructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from stoneware.dataclass import dataclass


class FlagError(ValueError):
    """A flag that the instruction does not have, or with a value it does not take."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Flags:
    """The flags given: the last of each `text` flag, all of each `many` flag, and the booleans."""

    text: Mapping[str, str] = field(default_factory=dict)
    many: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)

    def get(self, name: str, default: str = "") -> str:
        """Return a text flag's value."""
        return self.text.get(name, default)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word closest to a mistyped one, or an empty string."""
    import difflib  # slow to load, and only for the words of an error

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def parse_flags(
    given: Iterable[str], *, text: Iterable[str] = (), many: Iterable[str] = (), switches: Iterable[str] = ()
) -> Flags:
    """Read an instruction's flags. Raises FlagError with the nearest flag that exists."""
    kinds = {
        **dict.fromkeys(text, "text"),
        **dict.fromkeys(many, "many"),
        **dict.fromkeys(switches, "switch"),
    }
    texts: dict[str, str] = {}
    lists: dict[str, tuple[str, ...]] = {}
    booleans: dict[str, bool] = {}
    for flag in given:
        if flag == "--":  # BuildKit stops reading flags here
            break
        spelled, equals, value = flag.partition("=")
        name = spelled[2:]
        kind = kinds.get(name)
        if kind is None:
            raise FlagError(f"unknown flag: {spelled}", _known_flags(name, kinds))
        if kind != "many" and (name in texts or name in booleans):
            raise FlagError(f"the flag {spelled} is given twice", "Keep one of them.")
        if kind == "switch":
            booleans[name] = _boolean(spelled, value, bool(equals))
        elif not equals:
            raise FlagError(f"missing a value on flag: {spelled}", f"Write {spelled}=VALUE.")
        elif kind == "many":
            lists[name] = (*lists.get(name, ()), value)
        else:
            texts[name] = value
    return Flags(texts, lists, booleans)


def _known_flags(name: str, kinds: Mapping[str, str]) -> str:
    if not kinds:
        return "This instruction takes no flags."
    close = nearest(name, kinds)
    names = ", ".join(f"--{known}" for known in sorted(kinds))
    return f"Did you mean --{close}? The flags are {names}." if close else f"The flags are {names}."


def _boolean(spelled: str, value: str, given: bool) -> bool:
    if given and not value:
        raise FlagError(f"missing a value on flag: {spelled}", f"Write {spelled}, or {spelled}=false.")
    if value.lower() not in {"", "true", "false"}:
        raise FlagError(
            f"expecting true or false for flag {spelled}, not: {value}",
            f"Write {spelled}, or {spelled}=false.",
        )
    return value.lower() != "false"
