"""What a builder's console says reaches the display in order, and within bounds."""

from __future__ import annotations

from stoneware.bake.console_events import ConsoleEvents
from stoneware.bake.events import CheckResult, Note, StepOutput
from tests.bake.scripted import TOKEN, Told, planned


def console(told: Told, *, steps: int = 2) -> ConsoleEvents:
    return ConsoleEvents(told, token=TOKEN, stage="s", steps={n: planned(n) for n in range(1, steps + 1)})


def lines(*texts: str) -> bytes:
    return "".join(f"{TOKEN} {text}\r\n" for text in texts).encode()


def outputs(told: Told) -> list[tuple[int, list[str]]]:
    return [(one.index, list(one.texts)) for one in told.events if isinstance(one, StepOutput)]


def test_lines_of_a_step_wait_until_it_is_told_of() -> None:
    told = Told()
    events = console(told)
    events.feed(lines("1| a", "1| b", "2| c", "1 exit 0"))
    assert (outputs(told), events.ended) == ([], {1})
    events.begin(1)
    assert outputs(told) == [(1, ["a", "b"]), (2, ["c"])]
    events.begin(2)
    events.feed(lines("2| d", "1| late", "7| of no step"))
    assert outputs(told)[2:] == [(2, ["d"]), (1, ["late"]), (7, ["of no step"])]
    assert list(events.tail) == ["d", "late", "of no step"]


def test_the_last_lines_are_those_of_the_machine_and_then_of_the_step() -> None:
    events = console(Told())
    events.feed(b"systemd says\r\n")
    events.begin(1)
    events.feed(lines(*(f"1| {n}" for n in range(30))))
    assert list(events.tail) == [str(n) for n in range(10, 30)]
    assert events.last_lines() == list(events.tail)
    events.begin(2)
    assert events.last_lines() == ["systemd says"]


def test_what_prints_without_end_is_bounded() -> None:
    told = Told()
    events = console(told)
    events.feed(lines(*(f"note {n}" for n in range(300))))
    events.feed(lines(*["check machine-id error pass"] * 200))
    notes = [one.text for one in told.events if isinstance(one, Note)]
    assert notes == [str(n) for n in range(200)]
    assert len(events.checks) == 100
    assert sum(isinstance(one, CheckResult) for one in told.events) == 100
    events.feed(lines(*(f"1| {n}" for n in range(12_000))))
    events.begin(1)
    assert sum(len(texts) for _, texts in outputs(told)) == 10_000
    assert outputs(told)[-1][1][-1] == "11999"


def test_what_a_step_leaves_in_memory_is_told_with_its_line() -> None:
    told = Told()
    events = console(told, steps=1)
    events.feed(lines("left 1 /run/a /tmp/b", "left 2 /run/c"))
    assert events.left == {1: "/run/a /tmp/b"}
    assert any("/run/a" in one.text for one in told.events if isinstance(one, Note))
