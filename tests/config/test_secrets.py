from __future__ import annotations

import copy
import json
import logging
import pickle
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoneware.config import MASK, Secret, redact, reveal

HOSTILE = [
    "plain-s3cret",
    "it's",
    'a "quoted" one',
    "back\\slash\\n",
    "two\nlines",
    "tab\tand\rreturn",
    "$HOME ${X} $(id) `id`",
    "żółć 漢字",
    "]]></x>",
    "%s {0} {x!r} %(a)s",
    "&amp; <b>",
    "\x1b[31mred\x07",
]

LETTERS = st.characters(exclude_characters="*\0", exclude_categories=["Cs"])


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_prints_shows_it(text, caplog):
    secret = Secret(text)
    logging.getLogger("test").warning("%s %r %s", secret, secret, {"k": secret})
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret:>40}",
        "{}".format(secret),  # noqa: UP032
        "%s" % secret,  # noqa: UP031
        "%r" % (secret,),  # noqa: UP031
        str({"a": [secret]}),
        repr((secret,)),
        str(ValueError(secret)),
        caplog.text,
        shlex.quote(str(secret)),
        json.dumps(str(secret)),
        ascii(secret),
    ]
    for output in shown:
        assert MASK in output
        assert text not in output
        assert redact(output, [text]) == output
    assert secret.reveal() == reveal(secret) == text


@pytest.mark.parametrize(
    "use",
    [
        shlex.quote,
        json.dumps,
        pickle.dumps,
        lambda secret: "x" + secret,
        lambda secret: secret + "x",
        lambda secret: "".join([secret]),
        lambda secret: shlex.join(["a", secret]),
        lambda secret: "x".replace("x", secret),
        list,
        len,
        bytes,
        lambda secret: secret[0],
        lambda secret: "s" in secret,
        vars,
    ],
)
def test_what_would_leak_it_is_a_type_error(use):
    with pytest.raises(TypeError) as caught:
        use(Secret("s3cret"))
    assert "s3cret" not in str(caught.value)


def test_it_has_value_semantics():
    secret = Secret("s3cret")
    assert secret == Secret("s3cret")
    assert secret == Secret(secret)
    assert secret != Secret("other")
    assert secret != "s3cret"
    assert len({secret, Secret("s3cret")}) == 1
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert bool(secret)
    assert not Secret("")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "spell",
    [
        str,
        repr,
        ascii,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        shlex.quote,
        lambda text: text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r"),
    ],
    ids=["plain", "repr", "ascii", "json", "json-utf8", "shell", "config"],
)
def test_redact_finds_every_spelling(text, spell):
    spelled = spell(text)
    assert (
        redact(f"before {spelled} after", [Secret(text)]).replace("'", "").replace('"', "")
        == f"before {MASK} after"
    )


@settings(deadline=None)
@given(st.text(LETTERS, min_size=3), st.text(LETTERS), st.text(LETTERS))
def test_redact_leaves_no_plain_secret(secret, before, after):
    assert secret not in redact(before + secret + after, [secret]).replace(MASK, "\0")


def test_redact_takes_the_longest_first_and_leaves_tiny_ones():
    assert redact("token-long token a", ["token", "token-long", "a", ""]) == f"{MASK} {MASK} a"
