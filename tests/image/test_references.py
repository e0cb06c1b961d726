from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.image.references import Reference, default_name, parse_reference, resolve_image, tags_of

ONE = "sha256:" + "ab12" + "0" * 60
TWO = "sha256:" + "ab34" + "1" * 60


class Images:
    def tags(self) -> dict[str, str]:
        return {"hello:latest": ONE, "hello:v1": TWO, "team/kafka:4.2.1": TWO}

    def image_ids(self) -> list[str]:
        return [ONE, TWO]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", Reference("hello", "latest")),
        ("team/kafka:4.2.1", Reference("team/kafka", "4.2.1")),
        ("a-b_c.d:X_y-1", Reference("a-b_c.d", "X_y-1")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["", "Hello", "a b", "-a", "a:", "a:-x", "a:" + "x" * 129, "a/", "a//b", "../x"]
)
def test_bad_references_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_reference(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("hello", ONE), ("hello:v1", TWO), ("ab12", ONE), (TWO, TWO), ("sha256:ab3", None), ("ab34", TWO)],
)
def test_resolving(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InputError):
            resolve_image(Images(), text)
    else:
        assert resolve_image(Images(), text) == expected


def test_an_ambiguous_prefix_names_both() -> None:
    class Twins(Images):
        def image_ids(self) -> list[str]:
            return [ONE, ONE[:-1] + "f"]

    with pytest.raises(InputError, match="not unique") as caught:
        resolve_image(Twins(), "ab12")
    assert ONE in caught.value.details


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        resolve_image(Images(), "helo")
    assert "hello" in caught.value.details
    assert "stoneware bake" in caught.value.resolution


def test_tags_of_and_default_names() -> None:
    assert tags_of(Images().tags(), TWO) == ["hello:v1", "team/kafka:4.2.1"]
    assert default_name("My App (old)") == "my-app-old"
    assert default_name("***") == "my-image"
