"""Where a machine can be given a file: one rule for cluster files, the provider and the store."""

from __future__ import annotations

import pytest

from stoneware.model.file_places import place_problem


@pytest.mark.parametrize(
    "target", ["key", "certs/a.key", ".env", "..a", "/etc/x", "/etc/the tôken", "/a:b@c+d/.x"]
)
def test_places(target: str) -> None:
    assert place_problem(target) == ""


@pytest.mark.parametrize(
    "target",
    [
        *("", ".", "..", "../x", "a/../b", "a/./b", "a/", "a//b", "the tôken", "a" * 128, "a/" * 128 + "b"),
        *("/", "//", "//etc/x", "/etc/", "/etc/..", "/etc/../x", "/./x", "/a\tb", "/a\nb", "/a\x7fb"),
        *("/" + "ö" * 101, "/a" * 600),
    ],
)
def test_no_places(target: str) -> None:
    assert place_problem(target)
