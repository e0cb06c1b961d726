"""What snapshots are called where nobody says it."""

from __future__ import annotations

import pytest

from stoneware.model import names
from stoneware.model.snapshots import BEFORE_RESTORE, name_at

NOON = 1_700_000_000.9


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ((), "2023-11-14-221320"),
        (("2023-11-14-221320",), "2023-11-14-221320-2"),
        (("2023-11-14-221320", "2023-11-14-221320-2"), "2023-11-14-221320-3"),
    ],
)
def test_a_name_from_the_time(taken: tuple[str, ...], name: str) -> None:
    assert name_at(NOON, taken) == name
    assert names.SNAPSHOT.allows(name_at(NOON, taken, BEFORE_RESTORE))


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a@b", "a b", "a\n", "ä", "a" * 101])
def test_what_no_snapshot_is_called(name: str) -> None:
    assert not names.SNAPSHOT.allows(name)
