"""Things done together: each once, by whoever has the lock, and none lost where one fails."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from stoneware.platforms.local.network.together import Together

pytestmark = pytest.mark.pure


class Scene:
    """A lock that others hold, and threads that come meanwhile."""

    def __init__(self, fails: int = 0) -> None:
        self.together = Together()
        self.lock = threading.Lock()
        self.done: list[list[str]] = []
        self.errors: list[str] = []
        self.fails = fails

    def action(self, items: Sequence[str]) -> None:
        assert self.lock.locked()
        if self.fails:
            self.fails -= 1
            raise OSError("not now")
        self.done.append(list(items))

    def thread(self, place: str, item: str) -> None:
        try:
            self.together.do(place, item, lambda: self.lock, self.action)  # type: ignore[arg-type, return-value]
        except OSError:
            self.errors.append(item)

    def come(self, *items: str, place: str = "here") -> None:
        """Let threads come while the lock is held, and return when all have ended."""
        threads = []
        with self.lock:
            for item in items:
                thread = threading.Thread(target=self.thread, args=(place, item))
                thread.start()
                threads.append(thread)
                while item not in self.together._waiting.get(place, ()):
                    thread.join(0.001)
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()


def test_what_waits_is_done_at_once_and_once() -> None:
    scene = Scene()
    scene.come("a", "b", "c")
    assert scene.done == [["a", "b", "c"]]
    assert scene.together._waiting == {"here": {}}


def test_one_that_comes_later_is_done_by_itself() -> None:
    scene = Scene()
    scene.come("a")
    scene.come("a", "b")
    assert scene.done == [["a"], ["a", "b"]]


def test_other_places_are_none_of_it() -> None:
    scene = Scene()
    scene.together._waiting["there"] = {"z": None}
    scene.come("a")
    assert scene.done == [["a"]]
    assert list(scene.together._waiting["there"]) == ["z"]


def test_a_failure_is_told_to_one_and_the_rest_is_tried_again() -> None:
    scene = Scene(fails=1)
    scene.come("a", "b", "c")
    assert len(scene.errors) == 1
    (done,) = scene.done
    assert sorted([*done, *scene.errors]) == ["a", "b", "c"]
    assert scene.together._waiting == {"here": {}}
