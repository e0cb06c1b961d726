"""The words that this computer and a machine say to each other are the same on both sides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stoneware
from stoneware.model import guest_protocol

pytestmark = pytest.mark.pure
SHELL = "\n".join(path.read_text() for path in (Path(stoneware.__file__).parent / "guest").rglob("*.sh"))
WORDS = {
    name: value for name, value in vars(guest_protocol).items() if isinstance(value, str) and name.isupper()
}
# Of the host alone, or written into files that are sent along.
UNHEARD = {
    "FOR_AGENT",
    "SOUGHT",
    "CLUSTER",
    "SERVICE",
    "SLOT",
    "ACCEPT",
    "GUEST_ATTRIBUTES",
    "OURS",
    "FALSE",
    "METADATA_URL",
}
# Machines are given whole addresses of these.
GIVEN = {"FILES_PATH", "SECRETS_PATH", "RESULTS_PATH", "GUEST_ENDPOINT"}


@pytest.mark.parametrize("name", sorted(WORDS.keys() - UNHEARD - GIVEN))
def test_machines_know_the_word(name: str) -> None:
    word = WORDS[name].removeprefix(guest_protocol.METADATA_URL).strip("/")
    assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", SHELL)


def test_machines_ask_for_nothing_else() -> None:
    asked = set(re.findall(r"(?:instance/attributes/|value_of )(stoneware-[a-z]+)", SHELL))
    assert {guest_protocol.GO, guest_protocol.BUNDLE} <= asked <= set(WORDS.values())


def test_the_metadata_address_is_one() -> None:
    assert set(re.findall(r"169\.254\.\d+\.\d+", SHELL)) == {guest_protocol.METADATA_ADDRESS}
