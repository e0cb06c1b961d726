"""What names may be, and that whoever takes one asks the same rule."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.launch.flags import check_name, parse_volume
from stoneware.model import names
from stoneware.model.names import NameRule

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (names.MACHINE, ["a", "web-1", "1", "a" * 63], ["", "-a", "a-", "A", "a_b", "a.b", "a\n", "a" * 64]),
        (names.VOLUME, ["a", "A", "1_.-", "a" * 128], ["", ".a", "_a", "-a", "a/b", "a\n", "é", "a" * 129]),
        (names.NETWORK, ["db", "a" * 100], ["", "a b", "a" * 101]),
        (names.SECRET, ["x-key.config", "a" * 200], ["", "../x", "a" * 201]),
        (
            names.HOST,
            ["Web-1", "a.b.c", "a" * 63, "a" * 62 + ".b"],
            ["a..b", "a.", "-a", "a_b", "a" * 63 + ".b"],
        ),
        (
            names.DNS,
            ["a_b.c-d", "_x", "a" * 63 + ".b"],
            ["a..b", "a-", "-a", "a" * 64, ".".join(["ab"] * 85)],
        ),
        (names.HOSTS_FILE, ["a..b", "_a-", "a" * 253], ["", "-a", ".a", "a" * 254]),
    ],
)
def test_rules(rule: NameRule, good: list[str], bad: list[str]) -> None:
    assert [name for name in good if not rule.allows(name)] == []
    assert [name for name in bad if rule.allows(name)] == []


def test_run_takes_the_volumes_that_volume_create_takes() -> None:
    longest = "v" * 128
    assert parse_volume(f"{longest}:/data").volume == longest
    with pytest.raises(InputError, match="invalid volume") as caught:
        parse_volume(f"{longest}v:/data")
    assert names.VOLUME.words in caught.value.details


def test_the_name_of_a_machine_is_refused_with_its_rule() -> None:
    assert check_name("web-1") == "web-1"
    with pytest.raises(InputError, match="invalid machine name") as caught:
        check_name("Web")
    assert names.MACHINE.words in caught.value.details
