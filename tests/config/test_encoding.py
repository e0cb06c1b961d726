from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoneware.config import Secret, decode, digest, encode
from stoneware.config.encoding import escape, to_bytes, to_text, unescape
from stoneware.errors import InputError
from tests.config.awks import encoded, every_awk, interpolate
from tests.words import LETTERS, words

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
names = words(LETTERS, string.digits + ".-")


@settings(deadline=None)
@given(st.dictionaries(names, texts))
def test_round_trip(values):
    text = encode(values)
    assert decode(text) == values
    assert text.count("\n") == len(values)
    assert "\r" not in text


@settings(deadline=None)
@given(st.dictionaries(names, texts), st.randoms())
def test_equal_values_have_one_text_and_one_digest(values, random):
    order = list(values)
    random.shuffle(order)
    assert encode({key: values[key] for key in order}) == encode(values)
    raw = encode(values).encode()
    assert digest(encode(values)) == "sha256:" + hashlib.sha256(raw).hexdigest()


@settings(deadline=None)
@given(st.dictionaries(names, texts))
def test_it_is_what_the_documentation_says(values):
    raw = {key: values[key].encode() for key in sorted(values, key=str.encode)}
    assert encode(values).encode() == encoded(raw)


def test_the_text_of_a_known_config():
    values = {"b": "2\n\\n\r", "A": "x=y", "_": "", "ą": "é"}
    assert encode(values) == "A=x=y\n_=\nb=2\\n\\\\n\\r\ną=é\n"
    assert encode({}) == ""
    assert digest("") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_lines_are_cut_at_newlines_only():
    values = {"A": "1\x0b2\x0c3\x1c4\x854\u2028\u20295", "B": "x"}
    assert decode(encode(values)) == values


@settings(deadline=None)
@given(st.binary().filter(lambda raw: b"\0" not in raw))
def test_undecodable_bytes_come_back(raw):
    assert to_bytes(to_text(raw)) == raw
    assert to_bytes(decode(encode({"A": to_text(raw)}))["A"]) == raw


@settings(deadline=None)
@given(texts)
def test_a_value_is_one_line(value):
    assert unescape(escape(value)) == value
    assert "\n" not in escape(value)


def test_secrets_are_encoded_as_their_text():
    assert encode({"A": Secret("s3cret\n")}) == "A=s3cret\\n\n"


@pytest.mark.parametrize("name", ["", "A B", "A=B", "A\nB", "A\0", " A", "A\u2028"])
def test_names_that_no_environment_holds(name):
    with pytest.raises(InputError) as caught:
        encode({name: "x"})
    assert repr(name) in caught.value.brief
    assert caught.value.resolution == "-e NAME=value"


def test_a_nul_byte_in_a_value_names_the_variable_and_not_the_value():
    with pytest.raises(InputError) as caught:
        encode({"TOKEN": "secret\0"})
    assert "TOKEN" in caught.value.brief
    assert "secret" not in str(vars(caught.value))


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("A=1\nB", "line 2 is not KEY=VALUE"),
        ("=1", "line 1 is not"),
        ("A=\\x", "unknown escape"),
        ("A=\\", "line 1"),
    ],
)
def test_damaged_texts_name_the_line(text, details):
    with pytest.raises(InputError) as caught:
        decode(text)
    assert details in caught.value.details


@pytest.mark.tool
@every_awk
@settings(deadline=None, max_examples=25)
@given(values=st.dictionaries(words(string.ascii_uppercase, "", 2), texts, min_size=1, max_size=8))
def test_the_awk_program_reads_what_python_encodes(awk, tmp_path_factory, values):
    directory = tmp_path_factory.mktemp("encoding")
    (directory / "values").write_bytes(encode(values).encode())
    argv = [*awk, "-v", f"values={directory / 'values'}"]
    got = interpolate(argv, "\0".join(f"${{{name}}}" for name in values).replace("\0", "|").encode())
    assert got.out == "|".join(values.values()).encode()
