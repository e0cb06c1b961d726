"""The lexer against answers of BuildKit's own, and its properties."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoneware.machinefile.lex import Lexer, LexError
from tests.machinefile.support import CASES

DOCUMENT = json.loads((CASES / "words.json").read_text())


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["text"])
def test_word(case: dict[str, Any]) -> None:
    lexer = Lexer(escape=case.get("escape", "\\"), skip_quotes=case.get("skip_quotes", False))
    read = lexer.words if case.get("words") else lexer.word
    if "error" in case:
        with pytest.raises(LexError) as caught:
            read(case["text"], DOCUMENT["env"])
        assert str(caught.value) == case["error"]
    else:
        assert read(case["text"], DOCUMENT["env"]) == case["want"]


ANY = st.text(alphabet="ab$\\'\" {}:-+?#%/*é\n_1<`", max_size=20)


@settings(deadline=None)
@given(ANY)
def test_single_quotes_keep_everything_but_themselves(text: str) -> None:
    inner = text.replace("'", "")
    assert Lexer().word(f"'{inner}'", {"a": "x", "b": "y"}) == inner


@settings(deadline=None)
@given(ANY)
def test_a_value_is_never_read_again(value: str) -> None:
    assert Lexer().word('"$V"', {"V": value}) == value
    assert Lexer().word("${V:+$V}", {"V": value}) == value


@settings(deadline=None)
@given(ANY)
def test_any_text_ends_in_words_or_a_lex_error(text: str) -> None:
    for lexer in (
        Lexer(),
        Lexer(escape="`"),
        Lexer(skip_quotes=True),
        Lexer(raw_quotes=True, skip_unset=True),
    ):
        with contextlib.suppress(LexError):
            assert isinstance(lexer.word(text, {"a": "x"}), str)
            assert all(lexer.words(text, {"a": "x"}))


@settings(deadline=None)
@given(ANY)
def test_escaping_every_character_gives_the_text_back(text: str) -> None:
    assert Lexer().word("".join("\\" + char for char in text), {}) == text


@settings(deadline=None)
@given(st.text(alphabet="xy/.", max_size=12), st.text(alphabet="xy/.*?", max_size=5))
def test_prefix_and_suffix_removal_keep_a_part(value: str, pattern: str) -> None:
    for mark in ("#", "##"):
        assert value.endswith(Lexer().word(f"${{V{mark}{pattern}}}", {"V": value}))
    for mark in ("%", "%%"):
        assert value.startswith(Lexer().word(f"${{V{mark}{pattern}}}", {"V": value}))
