"""Which stages a target needs, in which order, and by what names they are unique."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile import values
from stoneware.machinefile.flags import FlagError, nearest
from stoneware.machinefile.state import Globals
from stoneware.machinefile.syntax import Checked, Layout, RawStage, located
from stoneware.machinefile.unknown import Reference, hollow_names, unknown


@dataclass(frozen=True)
class Names:
    """What the FROMs say: references, the stage of this file each means (or None), ARGs without a value."""

    references: Sequence[str]
    bases: Sequence[int | None]
    hollow: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Plan:
    """The stages' references and bases (an index, or None for an image), unique names, and building order."""

    references: Sequence[str]
    bases: Sequence[int | None]
    names: Sequence[str]
    order: Sequence[int]

    def root(self, index: int) -> int:
        """Return the stage that a stage stands on in the end: the one that is built FROM no other."""
        while (base := self.bases[index]) is not None:
            index = base
        return index


def find_stage(layout: Layout, name: str) -> int | None:
    """Return the stage that --from names, by index or name; of two of one name the later one."""
    if name.isascii() and name.isdecimal():
        return int(name) if int(name) < len(layout.stages) else None
    return next((stage.index for stage in reversed(layout.stages) if stage.name == name.lower()), None)


def read_names(layout: Layout, settings: Globals) -> Names:
    """Expand the FROMs. Raises InputError."""
    references: list[str] = []
    bases: list[int | None] = []
    hollow: list[tuple[str, ...]] = []
    defined: dict[str, int] = {}
    for stage in layout.stages:
        reference, empty = _reference(layout, stage, settings)
        references.append(reference)
        hollow.append(empty)
        # As written: FROM does not find a stage in capitals, --from and --target do.
        bases.append(defined.get(reference))
        if stage.name:
            defined[stage.name] = stage.index
    return Names(references, bases, hollow)


def plan(layout: Layout, names: Names, target: str | None) -> Plan:
    """Find what the target needs. Raises InputError."""
    needs = {stage.index: _needs(layout, stage, names.bases[stage.index]) for stage in layout.stages}
    _refuse_cycles(layout, needs)
    last = _target(layout, target)
    return Plan(names.references, names.bases, _unique_names(layout), _order(last, needs))


def _reference(layout: Layout, stage: RawStage, settings: Globals) -> tuple[str, tuple[str, ...]]:
    """Return a FROM's reference, and which ARGs in it have no value."""
    with located(layout.source, stage.line):
        unset: set[str] = set()
        # In a base's name an ARG that is empty leaves the same hole as one that nothing sets.
        filled = {name: value for name, value in settings.values.items() if value}
        settings.lexer.word(stage.base, filled, unset)
        hollow = hollow_names(stage.base, unset)
        reference = settings.lexer.word(stage.base, settings.values)
        if not reference:
            raise unknown(layout, Reference("", stage.line, stage.base, hollow or tuple(sorted(unset))), ())
        if stage.platform:
            expanded = settings.lexer.word(stage.platform, settings.values)
            if not expanded:
                raise FlagError(f"the platform ({stage.platform}) is empty", "Remove --platform.")
            values.check_platform(expanded, settings.architecture)
    return reference, hollow


def _needs(layout: Layout, stage: RawStage, base: int | None) -> Mapping[int, int]:
    """Return the stages a stage needs, each with the line that says so."""
    found: dict[int, int] = {} if base is None else {base: stage.line}
    for checked in stage.instructions:
        for name in _named(checked):
            index = find_stage(layout, name)
            if index is None and name.isascii() and name.isdecimal():
                raise layout.source.fault(
                    checked.source.line,
                    f"there is no stage {name}: the file has stages 0 to {len(layout.stages) - 1}",
                    "Name the stage with FROM … AS NAME and use the name.",
                )
            if index is not None:
                found.setdefault(index, checked.source.line)
    return found


def _named(checked: Checked) -> list[str]:
    names = [checked.flags.get("from")] if checked.source.keyword == "COPY" else []
    return [name for name in (*names, *(mount.from_name for mount in checked.mounts)) if name]


def _refuse_cycles(layout: Layout, needs: Mapping[int, Mapping[int, int]]) -> None:
    finished: set[int] = set()
    for first in needs:
        # Not by recursion: a file may have a long chain of stages.
        path = {first: iter(needs[first].items())}
        while path:
            index, left = next(reversed(path.items()))
            needed, line = next(left, (-1, 0))
            if needed < 0:
                finished.add(index)
                path.popitem()
            elif needed in path:
                chain = (*path, needed)
                loop = chain[chain.index(needed) :]
                shown = " → ".join(layout.stages[each].name or str(each) for each in loop)
                raise layout.source.fault(
                    line, f"the stages need each other: {shown}", "Take one of these dependencies away."
                )
            elif needed not in finished:
                path[needed] = iter(needs[needed].items())


def _target(layout: Layout, target: str | None) -> int:
    if not target:
        return len(layout.stages) - 1
    # BuildKit has no --target by number, though --from takes one.
    found = None if target.isdecimal() else find_stage(layout, target)
    if found is None:
        raise _unknown_target(layout, target)
    return found


def _unknown_target(layout: Layout, target: str) -> InputError:
    names = [stage.name for stage in layout.stages if stage.name]
    close = nearest(target, names)
    hint = f"Did you mean --target {close}? " if close else ""
    listed = (
        f"The stages are {', '.join(dict.fromkeys(names))}."
        if names
        else "No stage has a name: write FROM … AS NAME."
    )
    return InputError(
        f"target stage {target!r} could not be found",
        resolution=hint + listed,
        location=layout.source.filename,
    )


def _unique_names(layout: Layout) -> list[str]:
    last = {stage.name: stage.index for stage in layout.stages if stage.name}
    return [
        # Of two of one name the earlier cannot be meant by it.
        stage.name if last.get(stage.name) == stage.index else str(stage.index)
        for stage in layout.stages
    ]


def _order(target: int, needs: Mapping[int, Mapping[int, int]]) -> list[int]:
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting.extend(needs[index])
    # a stage can only use earlier ones, so the order in the file is the building order, the target last
    return [*sorted(needed - {target}), target]
