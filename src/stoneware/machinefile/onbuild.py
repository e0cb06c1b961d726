"""ONBUILD: the instructions of a base, which run in the builds FROM it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from stoneware.machinefile.syntax import Layout, RawStage, read_trigger


def with_triggers(
    layout: Layout,
    bases: Sequence[int | None],
    references: Sequence[str],
    triggers_of: Callable[[str], Sequence[str]],
) -> Layout:
    """Return the file with what its bases' ONBUILDs say put first in each stage, at the line of its FROM.

    `triggers_of` gives those of an image. An earlier stage's ONBUILDs count as well, once: they are not
    handed on to what is built FROM the stage that they were run in. Raises InputError.
    """
    stages: list[RawStage] = []
    for stage, parent, reference in zip(layout.stages, bases, references, strict=True):
        texts = triggers_of(reference) if parent is None else _own(layout.stages[parent])
        triggered = tuple(read_trigger(layout.source, stage.line, text) for text in texts)
        stages.append(replace(stage, instructions=(*triggered, *stage.instructions)))
    return replace(layout, stages=tuple(stages))


def _own(stage: RawStage) -> list[str]:
    return [each.source.words[0] for each in stage.instructions if each.source.keyword == "ONBUILD"]
