from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stoneware.untrusted import apart
from stoneware.untrusted.bounded import BoundsError


def in_a_thread(function: str, *arguments: object, seconds: float = 300) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(apart.call, function, *arguments, seconds=seconds).result()


def test_a_thread_gets_the_value() -> None:
    assert in_a_thread("json:dumps", {"a": ["\udc80"]}) == '{"a": ["\\udc80"]}'


def test_a_thread_is_not_held_up_and_goes_on_afterwards() -> None:
    with pytest.raises(BoundsError, match=r"takes longer than 0\.2 seconds"):
        in_a_thread("re:match", "(a+)+$", "a" * 40 + "b", seconds=0.2)
    assert in_a_thread("json:dumps", 1) == "1"


def test_a_call_that_waits_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_a_thread("time:sleep", 0, seconds=5) is None
    monkeypatch.setattr(apart, "_BUSY", 0.1)
    with pytest.raises(BoundsError, match="takes longer"):
        in_a_thread("time:sleep", 60, seconds=0.1)


@pytest.mark.parametrize("call", [in_a_thread, apart.call])
def test_a_busy_computer_takes_nobodys_time(call: Callable[..., object]) -> None:
    """As where hundreds of other processes run: the call waits for a processor longer than it may take."""
    assert call("time:sleep", 0.3, seconds=0.1) is None


@pytest.mark.parametrize(
    ("function", "words"), [("json:loads", "fails with"), ("os:_exit", "ends the process")]
)
def test_what_fails_is_told(function: str, words: str) -> None:
    with pytest.raises(BoundsError, match=words):
        in_a_thread(function, "{" if function == "json:loads" else 3)
