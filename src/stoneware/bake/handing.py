"""What steps take from other stages and images: the paths that a builder has to hand out for them.

A platform that can read the files of a checkpoint needs none of it. Elsewhere the builder of a stage packs
these paths after its last step, and the archive stands for the stage's key and the paths.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from stoneware.machinefile import gopath
from stoneware.machinefile.recipe import CopyStep, RunStep, Step
from stoneware.machinefile.tree import relative


def taken_from(steps: Iterable[Step]) -> dict[str, tuple[str, ...]]:
    """Return the paths that steps take, by the stage or image; "/" is all that is there."""
    found: dict[str, set[str]] = {}
    for step in steps:
        for whose, path in _taken(step):
            found.setdefault(whose, set()).add(path)
    return {whose: outermost(paths) for whose, paths in sorted(found.items())}


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Return paths without those that are below another one, sorted."""
    kept: list[str] = []
    # With the slash, or /a-b would stand between /a and /a/b, and hide that the one holds the other.
    for path in sorted(paths, key=lambda path: path.rstrip("/") + "/"):
        if not kept or not f"{path}/".startswith(f"{kept[-1].rstrip('/')}/"):
            kept.append(path)
    return tuple(kept)


def _taken(step: Step) -> Iterator[tuple[str, str]]:
    if isinstance(step, CopyStep) and step.from_stage:
        for text in step.sources:
            yield step.from_stage, _plain(text)
    elif isinstance(step, RunStep):
        for mount in step.mounts:
            if mount.type == "bind" and mount.from_stage:
                # The source of a bind mount is a path, no pattern.
                yield mount.from_stage, _plain(mount.source or "/", wildcards=False)


def _plain(text: str, *, wildcards: bool = True) -> str:
    """Return a source up to its first wildcard, and up to what would not be one line of a list."""
    path = "/" + relative(text)
    if wildcards:
        path = gopath.split_wildcards(path)[0]
    # The list has one path a line: what has a newline is handed out with the directory that it is in.
    while "\n" in path:
        path = posixpath.dirname(path)
    return path or "/"
