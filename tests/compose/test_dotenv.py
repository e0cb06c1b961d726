from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stoneware.compose.dotenv import parse_env, read_env_file
from stoneware.errors import InputError
from tests.compose.support import CASES

ENVIRONMENT = {"SET": "value"}
ENTRIES = yaml.load((CASES / "dotenv.yaml").read_text(), yaml.CSafeLoader)


@pytest.mark.parametrize("case", ENTRIES, ids=lambda case: case["name"])
def test_cases(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(case["text"].encode())
    if "values" in case:
        assert read_env_file(path, ENVIRONMENT, lambda _: None) == case["values"]
        return
    with pytest.raises(InputError) as caught:
        read_env_file(path, ENVIRONMENT, lambda _: None, ".env")
    assert (caught.value.brief, caught.value.location) == (case["reason"], f".env:{case['line']}")


def test_what_is_not_set_is_told() -> None:
    unset: list[str] = []
    assert parse_env("A=$X\nB='$Y'\nC=\"${Z}\"", {}, unset.append, "x") == {"A": "", "B": "$Y", "C": ""}
    assert unset == ["X", "Z"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=60))
def test_single_quotes_keep_every_text(text: str) -> None:
    quoted = text.replace("'", "\\'")
    if not text.endswith("\\") and "\\'" not in text:
        assert parse_env(f"A='{quoted}'", {}, lambda _: None, "x") == {"A": text}


@given(st.text("AB='\"$\\{}# \n:x", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_env(text, {}, lambda _: None, "x")
    except InputError as error:
        found = {error.location: error.brief}
    assert all(isinstance(value, str) and key for key, value in found.items())


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"A=\xe9\n")
    for name, reason in (
        ("gone", "cannot read the env file gone"),
        ("latin", "the env file latin is not UTF-8"),
    ):
        with pytest.raises(InputError) as caught:
            read_env_file(tmp_path / name, {}, lambda _: None, name)
        assert caught.value.brief == reason
