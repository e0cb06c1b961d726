from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stoneware.bake.console import (
    CheckLine,
    ConsoleLine,
    ConsoleReader,
    LeftLine,
    NoteLine,
    OutputLines,
    StepEnd,
)

TOKEN = "0123456789abcdef"
CONSOLE = (
    "[  OK  ] Reached target network.\r\n"
    f"{TOKEN} 1 start RUN echo hi\r\n"
    f"{TOKEN} 1| hi\r\n"
    f"{TOKEN} 1| \r\n"
    f"{TOKEN} 1| 2 exit 3\r\n"
    f"{TOKEN} 2| other\r\n"
    f"{TOKEN} 1 exit 0\r\n"
    "fedcba9876543210 2| another bake\r\n"
    f"{TOKEN} note fetched the bundle\r\n"
    f"{TOKEN} left 3 /run/x\r\n"
    f"{TOKEN} left x /run/x\r\n"
    f"{TOKEN} check machine-id error pass\r\n"
    f"{TOKEN} check private-keys error fail /etc/key: a private key\r\n"
)
EXPECTED = [
    OutputLines(1, ["hi", "", "2 exit 3"]),
    OutputLines(2, ["other"]),
    StepEnd(1, 0),
    NoteLine("fetched the bundle"),
    LeftLine(3, "/run/x"),
    CheckLine("machine-id", "error", "pass", ""),
    CheckLine("private-keys", "error", "fail", "/etc/key: a private key"),
]


def test_lines_of_the_agent_are_told_from_the_rest() -> None:
    reader = ConsoleReader(TOKEN)
    assert reader.feed(CONSOLE.encode()) == EXPECTED
    assert list(reader.other) == ["[  OK  ] Reached target network.", "fedcba9876543210 2| another bake"]


@given(st.lists(st.integers(0, len(CONSOLE.encode())), max_size=8))
def test_pieces_of_any_size_give_the_same_lines(cuts: list[int]) -> None:
    data = CONSOLE.encode()
    reader = ConsoleReader(TOKEN)
    edges = [0, *sorted(cuts), len(data)]
    found: list[ConsoleLine] = []
    for a, b in itertools.pairwise(edges):
        for line in reader.feed(data[a:b]):
            match line, found[-1:]:
                case OutputLines(step, texts), [OutputLines(last, before)] if step == last:
                    before += texts
                case _:
                    found.append(line)
    assert found == EXPECTED


def test_what_is_no_number_of_a_step_is_no_output() -> None:
    words = ["1234567| x", "| x", "²| x", "1 | x", "-1| x"]
    assert ConsoleReader(TOKEN).feed("".join(f"{TOKEN} {word}\n" for word in words).encode()) == []


def test_a_loud_step_is_passed_on_in_pieces() -> None:
    found = ConsoleReader(TOKEN).feed("".join(f"{TOKEN} 1| {number}\n" for number in range(2500)).encode())
    assert [len(line.texts) for line in found if isinstance(line, OutputLines)] == [1000, 1000, 500]
    assert [text for line in found if isinstance(line, OutputLines) for text in line.texts] == [
        str(number) for number in range(2500)
    ]


def test_an_incomplete_line_waits_for_its_end() -> None:
    reader = ConsoleReader(TOKEN)
    assert reader.feed(f"{TOKEN} 1| a".encode()) == []
    assert reader.feed(b"b\r\n") == [OutputLines(1, ["ab"])]
