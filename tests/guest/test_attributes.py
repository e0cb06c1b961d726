"""The attributes of a machine come out of the metadata server's JSON byte for byte, under every awk."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.awks import every_awk
from tests.guest.support import GUEST

pytestmark = pytest.mark.tool
NAMES = st.sampled_from(
    ["stoneware-config", "stoneware-mode", "startup-script", "shutdown-script-url", "other", "stoneware-../x"]
)
PIECES = st.sampled_from(
    ['"', "\\", "\\\\", "\n", "\r", "\t", "\b\f", "\x01", "/", "ż", "🐢", "é\x7f", "u0041", '":"', "{},"]
)
TEXTS = st.lists(PIECES | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))).map(
    "".join
)
TAKEN = {"stoneware-config", "stoneware-mode", "startup-script", "shutdown-script-url"}


def read(awk: list[str], document: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [*awk, "-f", GUEST / "attributes.awk", "-v", f"directory={directory}"],
            input=document.encode(),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            check=True,
        )
        return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


@every_awk
@settings(deadline=None, max_examples=40)
@given(
    attributes=st.dictionaries(NAMES, TEXTS | st.integers() | st.booleans() | st.none()),
    plain=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_texts_are_decoded(
    awk: list[str], attributes: dict[str, object], plain: bool, indent: int | None
) -> None:
    got = read(awk, json.dumps(attributes, ensure_ascii=not plain, indent=indent))
    assert got == {
        name: value.encode() for name, value in attributes.items() if name in TAKEN and isinstance(value, str)
    }


@every_awk
@pytest.mark.parametrize("document", ["", "{}", "{}\n"])
def test_no_attributes(awk: list[str], document: str) -> None:
    assert read(awk, document) == {}
