"""The errors about a base or an image that is not here: why, and what to write in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile.bases import OWN_BASE, is_debian, registry_hint, split_reference
from stoneware.machinefile.flags import nearest
from stoneware.machinefile.syntax import Layout

_SHOWN = 6  # bases and images that an error lists


@dataclass(frozen=True)
class Reference:
    """A reference outside the file: of a FROM (`expression` is what it was expanded from) or of a --from."""

    text: str
    line: int
    expression: str = ""
    hollow: tuple[str, ...] = ()  # the ARGs in the expression that have no value


def unknown(layout: Layout, wanted: Reference, known: Iterable[str]) -> InputError:
    """Return the error for a reference that means neither a base, an image of the store nor a stage."""
    if wanted.hollow:
        return _hollow(layout, wanted)
    known = list(dict.fromkeys(known))
    stages = list(dict.fromkeys(stage.name for stage in layout.stages if stage.name))
    close = nearest(wanted.text, [*known, *stages])
    brief = f"unknown base or image: {wanted.text}"
    if not wanted.expression:
        brief = f"there is no stage and no image {wanted.text} here"
    return layout.source.fault(wanted.line, brief, _advice(wanted, close, known, stages))


def _advice(wanted: Reference, close: str, known: list[str], stages: list[str]) -> str:
    more = ", …" if len(known) > _SHOWN else ""
    there = f"Known are {', '.join(known[:_SHOWN])}{more}"
    if not wanted.expression and stages:
        there = f"The stages are {', '.join(stages)}; other known names are {', '.join(known[:_SHOWN])}{more}"
    listed = f"{there}; `stoneware images` lists the images baked here."
    if is_debian(wanted.text):
        own = OWN_BASE.format("debian:sid", "sid")
        return (
            f"The releases of Debian that Stoneware makes are 12 (bookworm) and 13 (trixie). {own} {listed}"
        )
    if close:
        return f"Did you mean {close}? {listed}"
    if not wanted.expression:
        return (
            "Images of registries are not fetched: get the file by ADD --checksum=sha256:… URL, "
            f"or build it in a stage of this file. {listed}"
        )
    if _of_registry(wanted.text):
        return (
            "Images of registries are not fetched: they have no init system to boot. "
            f"{registry_hint(wanted.text)} {listed}"
        )
    return listed


def _of_registry(text: str) -> bool:
    registry, repository, tag = split_reference(text)
    # A bare name counts as well where there is something to say of it, as of nginx.
    return bool(registry or tag or "/" in repository or registry_hint(text) != registry_hint(""))


def hollow_names(expression: str, empty: Iterable[str]) -> tuple[str, ...]:
    """Return which of the variables without a value an expression uses plainly, in the order of their use."""
    plain = [brace or bare for brace, bare in re.findall(r"\$(?:\{(\w+)\}|(\w+))", expression)]
    return tuple(dict.fromkeys(name for name in plain if name in set(empty)))


def _hollow(layout: Layout, wanted: Reference) -> InputError:
    names = " and ".join(wanted.hollow)
    why = f"ARG {names} {'has' if len(wanted.hollow) == 1 else 'have'} no value"
    brief = f"the base name ({wanted.expression}) is {wanted.text or 'empty'}: {why}"
    return layout.source.fault(wanted.line, brief, " ".join(_remedy(layout, name) for name in wanted.hollow))


def _remedy(layout: Layout, name: str) -> str:
    before = any(name in _declared(each.source.words) for each in layout.arguments)
    later = [
        each.source.line
        for stage in layout.stages
        for each in stage.instructions
        if each.source.keyword == "ARG" and name in _declared(each.source.words)
    ]
    if later and not before:
        return f"Move ARG {name} of line {later[0]} before the first FROM: only there FROM sees it."
    return f"Write ARG {name}=DEFAULT before the first FROM, or give --build-arg {name}=VALUE."


def _declared(words: Iterable[str]) -> set[str]:
    return {word.partition("=")[0] for word in words}
