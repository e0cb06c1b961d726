"""What a Machinefile may say and surely does not mean: warnings, never errors."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from stoneware.machinefile.state import PROXIES
from stoneware.machinefile.syntax import Checked, Layout

# BuildKit's own build arguments, which no ARG has to declare.
_ALWAYS_USED = ("BUILDKIT_", "SOURCE_DATE_EPOCH")
# The words of BuildKit's check SecretsUsedInArgOrEnv.
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


def unused_args(layout: Layout, build_args: Mapping[str, str], predefined: Container[str]) -> tuple[str, ...]:
    """Return the build arguments that no ARG of the file declares."""
    instructions = [*layout.arguments, *(each for stage in layout.stages for each in stage.instructions)]
    declared = {
        word.partition("=")[0]
        for checked in instructions
        if checked.source.keyword == "ARG"
        for word in checked.source.words
    }
    return tuple(
        sorted(
            name
            for name in build_args
            if name not in declared
            and name not in predefined
            and name.upper() not in PROXIES
            and not name.startswith(_ALWAYS_USED)
        )
    )


def warnings(layout: Layout, needed: Sequence[int]) -> tuple[str, ...]:
    """Return sentences with their place; about instructions only in the stages that are needed."""
    checked = [*layout.arguments, *(each for index in needed for each in layout.stages[index].instructions)]
    return (*_repeated_names(layout), *(text for each in checked for text in _secrets(layout, each)))


def _repeated_names(layout: Layout) -> Iterator[str]:
    lines: dict[str, int] = {}
    for stage in layout.stages:
        if stage.name in lines and stage.name:
            yield (
                f"{layout.source.filename}:{stage.line}: the stage name {stage.name} is used in line "
                f"{lines[stage.name]} already; the later one counts"
            )
        lines[stage.name] = stage.line


def _secrets(layout: Layout, checked: Checked) -> Iterator[str]:
    source = checked.source
    place = f"{layout.source.filename}:{source.line}"
    for name in _named_values(checked):
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            yield (
                f"{place}: {source.keyword} {name} would be kept in the image's history; "
                f"use RUN --mount=type=secret,id={name.lower()}"
            )


def _named_values(checked: Checked) -> Iterator[str]:
    words = checked.source.words
    if checked.source.keyword == "ARG":
        yield from (word.partition("=")[0] for word in words)
    elif checked.source.keyword == "ENV":
        # an empty default only declares a variable of the runtime config
        yield from (name for name, value in zip(words[::2], words[1::2], strict=True) if value.strip("\"'"))
