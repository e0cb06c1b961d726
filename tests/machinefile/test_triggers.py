"""ONBUILD: how what a base has asked for is read in the file of another."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.machinefile.parser import parse_source
from stoneware.machinefile.syntax import lay_out, read_trigger

pytestmark = pytest.mark.pure

BACKTICK = "# escape=`\nFROM debian:12\n"


@pytest.mark.parametrize("head", ["FROM debian:12\n", BACKTICK])
def test_a_trigger_is_read_with_the_backslash_whatever_its_reader_has(head: str) -> None:
    """BuildKit parses it by itself: the file that it comes from may have had the other sign."""
    source = parse_source(head, "Machinefile")
    assert read_trigger(source, 2, "ENV A=b\\ c").source.words == ("A", "b\\ c")
    with pytest.raises(InputError, match="ONBUILD ENV A=b` c"):
        read_trigger(source, 2, "ENV A=b` c")


def test_where_it_is_written_it_is_checked_with_the_sign_of_its_file() -> None:
    [stage] = lay_out(parse_source(f"{BACKTICK}ONBUILD ENV A=b` c\n", "Machinefile")).stages
    assert stage.instructions[0].source.words == ("ENV A=b` c",)


@pytest.mark.parametrize("text", ["RUN a\nRUN b", "ENV A=b\n# and\nENV C=d"])
def test_a_trigger_is_one_instruction(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_trigger(parse_source("FROM debian:12\n", "Machinefile"), 1, text)
    assert "more than one instruction" in caught.value.brief
