from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stoneware.bake.console import CheckLine, ConsoleReader, LeftLine, NoteLine, OutputLine, StepEnd

TOKEN = "0123456789abcdef"
CONSOLE = (
    "[  OK  ] Reached target network.\r\n"
    f"{TOKEN} 1 start RUN echo hi\r\n"
    f"{TOKEN} 1| hi\r\n"
    f"{TOKEN} 1| \r\n"
    f"{TOKEN} 1| 2 exit 3\r\n"
    f"{TOKEN} 1 exit 0\r\n"
    "fedcba9876543210 2| another bake\r\n"
    f"{TOKEN} note fetched the bundle\r\n"
    f"{TOKEN} left 3 /run/x\r\n"
    f"{TOKEN} left x /run/x\r\n"
    f"{TOKEN} check machine-id error pass\r\n"
    f"{TOKEN} check private-keys error fail /etc/key: a private key\r\n"
)
EXPECTED = [
    OutputLine(1, "hi"),
    OutputLine(1, ""),
    OutputLine(1, "2 exit 3"),
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
    found = [line for a, b in itertools.pairwise(edges) for line in reader.feed(data[a:b])]
    assert found == EXPECTED


def test_an_incomplete_line_waits_for_its_end() -> None:
    reader = ConsoleReader(TOKEN)
    assert reader.feed(f"{TOKEN} 1| a".encode()) == []
    assert reader.feed(b"b\r\n") == [OutputLine(1, "ab")]
