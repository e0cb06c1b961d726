"""Which image a configuration means, and what is asked to find out."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest

from tests.google.provider import images
from tests.google.provider.client import ApiError, Client
from tests.google.provider.documents import Document
from tests.google.provider.settings import Settings


class Asked(Client):
    """Knows the images and families that are there, and what was asked."""

    def __init__(self, *there: str) -> None:
        super().__init__(Settings(endpoints={"compute": "http://h/v1/"}), threading.Event())
        self.there = there
        self.asked: list[str] = []

    def get(self, url: str, **query: str) -> Document:
        self.asked.append(url.removeprefix("http://h/v1/projects/"))
        if self.asked[-1] not in self.there:
            raise ApiError(404, "not there")
        return {}


class Case(NamedTuple):
    text: str
    result: str
    asked: tuple[str, ...] = ()  # the last one is there


LINK = "https://www.googleapis.com/compute/v1/projects/q/global/images/i"
DEBIAN = "debian-cloud/global/images"


@pytest.mark.parametrize(
    "case",
    [
        Case(LINK, LINK),
        Case("http://127.0.0.1:1/compute/v1/projects/q/global/images/i", "projects/q/global/images/i"),
        Case("projects/q/global/images/family/f", "projects/q/global/images/family/f"),
        Case("global/images/i", "global/images/i"),
        Case("i", "global/images/i", ("p/global/images/i",)),
        Case("f", "global/images/family/f", ("p/global/images/f", "p/global/images/family/f")),
        Case("family/f", "global/images/family/f", ("p/global/images/family/f",)),
        Case("q/i", "projects/q/global/images/i", ("q/global/images/i",)),
        Case("q/f", "projects/q/global/images/family/f", ("q/global/images/f", "q/global/images/family/f")),
        Case(
            "debian-12",
            f"projects/{DEBIAN}/family/debian-12",
            (
                "p/global/images/debian-12",
                f"{DEBIAN}/debian-12",
                "p/global/images/family/debian-12",
                f"{DEBIAN}/family/debian-12",
            ),
        ),
    ],
)
def test_a_name_is_looked_for_and_a_reference_is_taken(case: Case) -> None:
    client = Asked(*case.asked[-1:])
    assert images.resolve(client, "p", case.text) == case.result
    assert tuple(client.asked) == case.asked


def test_what_is_nowhere_is_refused() -> None:
    with pytest.raises(ApiError, match="Could not find image or family nothing"):
        images.resolve(Asked(), "p", "nothing")
