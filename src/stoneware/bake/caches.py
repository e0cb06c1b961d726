"""Who may use a cache at the same time: `RUN --mount=type=cache,sharing=…` between the bakes of a store."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from stoneware.files import locked, sha256_hex
from stoneware.machinefile.recipe import RunStep, Step
from stoneware.platforms.protocols import Images

_STRICTEST = ("shared", "private", "locked")


@contextlib.contextmanager
def held_caches(store: Images, steps: Iterable[Step]) -> Iterator[dict[str, str]]:
    """Hold the caches that some steps mount, and give by id the name of the one each has.

    A `locked` one is waited for until no other bake has it; instead of a `private` one that another bake has
    there is another; `shared` ones are used by several.
    """
    with contextlib.ExitStack() as stack:
        # Each bake takes its locks in the order of the ids, so that no two wait for one another.
        yield {id: _hold(stack, store, id, sharing) for id, sharing in sorted(_wanted(steps).items())}


def _wanted(steps: Iterable[Step]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for step in steps:
        for mount in step.mounts if isinstance(step, RunStep) else ():
            if mount.type == "cache":
                id = mount.id or mount.target
                wanted[id] = max(wanted.get(id, "shared"), mount.sharing, key=_STRICTEST.index)
    return wanted


def _hold(stack: contextlib.ExitStack, store: Images, id: str, sharing: str) -> str:
    # A `shared` cache takes its lock too, next to others: one who wants it `locked` waits for all of them.
    if sharing != "private":
        stack.enter_context(locked(_lock(store, id), shared=sharing == "shared"))
        return id
    for number in itertools.count(1):
        name = id if number == 1 else f"{id}#{number}"
        with contextlib.suppress(TimeoutError):
            stack.enter_context(locked(_lock(store, name), timeout=0))
            return name
    raise AssertionError  # the numbers do not end


def _lock(store: Images, name: str) -> Path:
    # Hashed, since an id may be any text, with slashes too, and this is the name of a file.
    return store.build_lock_path(f"cache-{sha256_hex(name.encode(errors='surrogateescape'))[:32]}")
