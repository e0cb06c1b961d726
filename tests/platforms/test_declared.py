"""Asking a machine to run a command of its image: the request, and answers of machines that may lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec
from stoneware.platforms.declared import ask, declared_name
from tests.platforms.memory import MemoryPlatform

pytestmark = pytest.mark.pure
DRAIN = "/etc/stoneware/commands/drain"
Answer = Callable[[list[str]], str]


class Asked(MemoryPlatform):
    """Machines that answer a request, its lines, with a report."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[list[str]] = []
        self.create(MachineSpec("m1", "image:sha256:1"))

    def set_metadata(self, name: str, changes: Mapping[str, str | None]) -> None:
        super().set_metadata(name, changes)
        self.asked.append((changes["stoneware-command"] or "").split("\n")[:-1])
        self.report(name, **{"stoneware/command": self.answer(self.asked[-1])})


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def asked(platform: Asked, *argv: str, **options: Any) -> tuple[int, str]:
    time = Time()
    return ask(platform, "m1", argv, timeout=options.get("timeout", 5.0), clock=time, sleep=time.sleep)


def test_a_request_has_a_nonce_of_its_own_and_all_words() -> None:
    platform = Asked(lambda lines: f"{lines[0]} 3\nsaid\n")
    argv = ("/usr/bin/env", "STONEWARE_GATE=before", DRAIN, "a=b", "--now")
    assert asked(platform, *argv, timeout=1.2) == (3, "said\n")
    assert asked(platform, DRAIN) == (3, "said\n")
    first, second = platform.asked
    assert first[1:] == ["2", "drain", "e STONEWARE_GATE=before", "a a=b", "a --now"]
    assert second[1:] == ["5", "drain"]
    assert len(first[0]) == 32
    assert first[0] != second[0]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("", (124, "the machine did not answer")),
        ("another 0\n", (124, "the machine did not answer")),
        ("NONCE", (1, "exit code")),
        ("NONCE 256\n", (1, "exit code")),
        ("NONCE -1\n", (1, "exit code")),
        ("NONCE \u0661\n", (1, "exit code")),
        ("NONCE 0\n" + "x" * 40000, (1, "exit code")),
    ],
)
def test_what_is_no_answer(answer: str, outcome: tuple[int, str]) -> None:
    code, said = asked(Asked(lambda lines: answer.replace("NONCE", lines[0])), DRAIN)
    assert (code, outcome[1] in said) == (outcome[0], True)


@pytest.mark.parametrize(
    "argv",
    [
        ("/bin/sh", "-c", "true"),
        (f"{DRAIN}/../../x",),
        ("/etc/stoneware/commands/",),
        ("/etc/stoneware/commands/.x",),
        (DRAIN, "two\nlines"),
        (DRAIN, "nul\0"),
        (DRAIN, "x" * 5000),
        ("/usr/bin/env", "A=1"),
    ],
)
def test_only_declared_commands_with_plain_words(argv: tuple[str, ...]) -> None:
    platform = Asked(lambda _: "")
    with pytest.raises(InputError):
        asked(platform, *argv)
    assert platform.asked == []


def test_names_of_declared_commands() -> None:
    assert declared_name([DRAIN]) == "drain"
    assert declared_name(["/usr/bin/env", "A=1", DRAIN, "x"]) == "drain"
    assert declared_name(["drain"]) == declared_name([]) == ""


def test_a_machine_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no machine 'm2'"):
        ask(MemoryPlatform(), "m2", [DRAIN], timeout=1)
