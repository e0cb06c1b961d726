"""Bakes in a store that runs full at any point, and afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.platforms.local.store.recover import teardown
from stoneware.process import run
from tests.bake.conftest import Context
from tests.bake.faults import HOLD, Baking, fill, tidy
from tests.stores import copy_base

pytestmark = pytest.mark.machine
StartBake = Callable[..., Baking]


@pytest.fixture(scope="module")
def small_home(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of 1 GiB with the base of the tests' store in it."""
    home = tmp_path_factory.mktemp("small") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STONEWARE_POOL_SIZE", "1G")
        store = LocalImageStore.open(home)
    try:
        copy_base(LocalImageStore.open(machine_home), store)
        yield home
    finally:
        teardown(store, remove=True)


@pytest.fixture
def small(context: Context, small_home: Path) -> Iterator[Context]:
    yield Context(context.path, small_home, context.name)
    make_room(small_home)


def make_room(home: Path) -> None:
    (home / "data/filler").unlink(missing_ok=True)
    for command in ("filesystem", "subvolume"):  # what is deleted is given back with the next commit
        run(["btrfs", command, "sync", home / "data"])


def check_full(baking: Baking, home: Path) -> None:
    assert baking.end() == 3, baking.said
    assert f"the store in {home} is full" in baking.said
    assert "→ stoneware prune" in baking.said


def check_usable(small: Context) -> None:
    """See that the next command works and removes all that is left; what is baked next is the proof."""
    make_room(small.home)
    said = small.run("ps")[1]
    assert "cannot" not in said, said
    assert tidy(small.home)


def test_a_step_that_fills_the_store(small: Context, start_bake: StartBake) -> None:
    small.write({"Machinefile": "FROM debian:12\nRUN echo kept >/kept\nRUN fallocate -l 3G /huge\n"})
    baking = start_bake(of=small)
    assert baking.end() == 1, baking.said  # the builder's own limit: the rest of the store goes on
    assert "Disk quota exceeded" in baking.said
    assert "error: Machinefile:4:" in baking.said
    assert "RUN fallocate -l 3G" in baking.said
    check_usable(small)
    small.write({"Machinefile": "FROM debian:12\nRUN echo kept >/kept\nRUN echo small >/huge\n"})
    assert start_bake(of=small).result()["cached"] == 1


@contextlib.contextmanager
def in_a_step(_baking: Baking) -> Iterator[None]:
    yield


@contextlib.contextmanager
def in_the_seal(baking: Baking, phase: str = "seal") -> Iterator[None]:
    with baking.uncaptured():
        baking.at("phase_started", name=phase)
        yield


def in_the_capture(baking: Baking) -> contextlib.AbstractContextManager[None]:
    return in_the_seal(baking, "capture")


Point = Callable[[Baking], contextlib.AbstractContextManager[None]]
# The point, and how many of its steps are kept.
POINTS: list[tuple[Point, int]] = [(in_a_step, 0), (in_the_seal, 1), (in_the_capture, 1)]


def test_a_store_that_others_fill(small: Context, start_bake: StartBake) -> None:
    """From the start, and then at points of bakes; each goes on from what the one before has left."""
    steps = "FROM debian:12\n"
    small.write({"Machinefile": f"{steps}RUN {HOLD}; echo 0 >/all\n"})
    fill(small.home / "data")
    check_full(start_bake(of=small), small.home)
    check_usable(small)
    for number, (reached, kept) in enumerate(POINTS):
        machinefile = f"{steps}RUN {HOLD}; echo {number} >>/all\n"
        small.write({"Machinefile": machinefile})
        done = len(small.actions()) - 1
        baking = start_bake(of=small)
        baking.until_held()
        with reached(baking):
            fill(small.home / "data")
        if reached is in_a_step:
            baking.release()
        check_full(baking, small.home)
        check_usable(small)
        assert [action for action, _ in small.actions()].count("HIT") == done + kept, reached
        steps = machinefile if kept else steps
    result = start_bake(of=small).result()
    assert (result["cached"], result["ran"]) == (2, 0)
    assert (small.rootfs(result) / "all").read_text() == "1\n2\n"
