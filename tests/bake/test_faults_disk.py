"""Bakes in a store that runs full at any point, and afterwards."""

from __future__ import annotations

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


def check_usable(small: Context, start_bake: StartBake, cached: int) -> None:
    make_room(small.home)
    said = small.run("ps")[1]
    assert "cannot" not in said, said
    assert tidy(small.home)
    assert start_bake(of=small, holds=False).result()["cached"] == cached


def test_a_step_that_fills_the_store(small: Context, start_bake: StartBake) -> None:
    small.write({"Machinefile": "FROM debian:12\nRUN echo kept >/kept\nRUN head -c 3G /dev/urandom >/huge\n"})
    baking = start_bake(of=small)
    assert baking.end() == 1, baking.said  # the builder's own limit: the rest of the store goes on
    assert "Disk quota exceeded" in baking.said
    assert "error: Machinefile:4:" in baking.said
    assert "RUN head -c 3G" in baking.said
    small.write({"Machinefile": "FROM debian:12\nRUN echo kept >/kept\nRUN echo small >/huge\n"})
    check_usable(small, start_bake, 1)


@pytest.mark.parametrize("when", ["step", "seal"])
def test_a_store_that_others_fill(small: Context, start_bake: StartBake, when: str) -> None:
    small.write({"Machinefile": f"FROM debian:12\nRUN : {when}; {HOLD}; echo one >/one\n"})
    baking = start_bake(of=small)
    baking.until_held()
    if when == "step":
        fill(small.home / "data")
        baking.release()
    else:
        with baking.uncaptured():
            baking.at("phase_started", name="seal")
            fill(small.home / "data")
    check_full(baking, small.home)
    check_usable(small, start_bake, 0 if when == "step" else 1)


def test_a_store_that_is_full_when_the_image_is_captured(small: Context, start_bake: StartBake) -> None:
    small.write({"Machinefile": f"FROM debian:12\nRUN {HOLD}; echo one >/one\n"})
    baking = start_bake(of=small)
    baking.until_held()
    with baking.uncaptured():
        baking.at("phase_started", name="capture")
        fill(small.home / "data")
    check_full(baking, small.home)
    check_usable(small, start_bake, 1)


def test_a_store_that_is_full_from_the_start(small: Context, start_bake: StartBake) -> None:
    small.write({"Machinefile": "FROM debian:12\nRUN echo one >/one\n"})
    fill(small.home / "data")
    baking = start_bake(of=small)
    check_full(baking, small.home)
    check_usable(small, start_bake, 0)
