"""Filters and pages of lists."""

from __future__ import annotations

import pytest

from stoneware.emulator import errors, filters, paging

DISK = {
    "name": "data-1",
    "sizeGb": "10",
    "labels": {"team": "x", "a.b": "c"},
    "users": ["u1", "u2"],
    "on": True,
}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("name = data-1", True),
        ("name = data-*", True),
        ("name != data-1", False),
        ("sizeGb > 9", True),
        ("sizeGb <= 9", False),
        ("labels.team:*", True),
        ("labels.none:*", False),
        ("labels.a.b = c", True),
        ("users : u2", True),
        ("on = true", True),
        ("name = x OR name = data-1 AND sizeGb = 9", False),
        ("(name = x OR name = data-1) sizeGb = 10", True),
        ("NOT name = x", True),
        ('name eq "data-[0-9]+"', True),
        ("name eq data", False),
        ("name ne data", True),
    ],
)
def test_a_filter_keeps_what_it_says(text: str, kept: bool) -> None:
    assert filters.parse(text)(DISK) is kept


@pytest.mark.parametrize(
    "text", ["name", "name =", "(name = x", "name = x)", "= x", 'name eq "["', 'name = "x', "OR"]
)
def test_a_filter_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        filters.parse(text)
    assert caught.value.status == 400


def test_pages_give_each_item_once_in_order_even_when_one_is_deleted_between() -> None:
    items = [{"name": f"n{at}", "creationTimestamp": str(9 - at)} for at in range(5)]
    some, token = paging.page(items, {"maxResults": 2})
    assert [one["name"] for one in some] == ["n0", "n1"]
    rest, end = paging.page(items[2:], {"maxResults": 3, "pageToken": token})
    assert ([one["name"] for one in rest], end) == (["n2", "n3", "n4"], None)
    newest, _ = paging.page(items, {"orderBy": "creationTimestamp desc"})
    assert [one["name"] for one in newest] == ["n0", "n1", "n2", "n3", "n4"]


def test_an_expression_that_takes_for_ever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PATIENCE", 0.05)
    with pytest.raises(errors.ApiError, match="takes longer than") as caught:
        paging.page([{"name": "a" * 60}], {"filter": 'name eq "(a+)+b"'})
    assert caught.value.status == 400
