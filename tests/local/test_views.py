"""The records of views: which machines each has, what its server knows besides, and what is left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.platforms.local.network.views import Member, View, Views, Zones, view_key

DB = Member("m1", "10.0.0.2", ("back",), ("db", "db.shop.internal"))
WEB = Member("m2", "10.0.0.3", ("back", "front"), ("web",))
FAR = Member("m3", "10.0.0.4", ("far",), ("far",))


@pytest.fixture
def views(tmp_path: Path) -> Views:
    return Views(tmp_path)


def hosts(views: Views, *networks: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in views.hosts(view_key(networks)).iterdir()}


def test_a_view_has_the_machines_that_share_a_network_with_it(views: Views) -> None:
    made = views.make(("back",), [DB, WEB, FAR])
    assert made == View(("back",), made.port)
    assert 10_000 <= made.port < 20_000
    assert hosts(views, "back") == {"m1": "10.0.0.2 db db.shop.internal\n", "m2": "10.0.0.3 web\n"}
    assert views.find(("back",)) == made
    assert views.find(("front",)) is None
    both = views.make(("back", "front"), [DB, WEB, FAR], sealed=True)
    assert both.sealed
    assert both.port != made.port
    assert sorted(views.all()) == [made, both]


def test_the_order_of_networks_makes_no_other_view() -> None:
    assert view_key(("a", "b")) == view_key(("b", "a", "b")) != view_key(("ab",))


def test_a_view_made_again_keeps_its_port_and_loses_what_is_gone(views: Views) -> None:
    first = views.make(("back",), [DB, WEB])
    before = (views.hosts(first.key) / "m1").stat().st_ino
    again = views.make(("back",), [DB, FAR], sealed=True)
    assert (again.port, again.sealed) == (first.port, True)
    assert hosts(views, "back") == {"m1": DB.line}
    # What has not changed is not written: its server would read it again.
    assert (views.hosts(first.key) / "m1").stat().st_ino == before


def test_two_views_never_share_a_port(views: Views) -> None:
    port = views.make(("back",), []).port
    views.forget(view_key(("back",)))
    other = views.make(("other",), [])
    record = views.hosts(other.key).parent / "view.json"
    record.write_text(f'{{"networks": ["other"], "port": {port}}}')
    assert views.make(("back",), []).port == 10_000 + (port + 1 - 10_000) % 10_000


def test_machines_come_and_go(views: Views) -> None:
    back, far = views.make(("back",), []), views.make(("far",), [])
    views.show(DB)
    assert (hosts(views, "back"), hosts(views, "far")) == ({"m1": DB.line}, {})
    assert views.hide("m1") == [back]
    assert views.hide("m1") == []
    views.show(Member("m1", "10.0.0.2", ("back", "far"), ("db",)))
    assert sorted(views.hide("m1")) == sorted([back, far])


def test_a_network_may_know_more_than_its_machines(views: Views) -> None:
    back = views.make(("back",), [DB])
    both = views.make(("back", "front"), [DB])
    views.make(("far",), [FAR])
    zones = Zones({"10.9.9.9": ("a.example", "b.example")}, ("example", "other"))
    assert sorted(views.name("back", zones)) == sorted([back, both])
    assert "10.9.9.9 a.example b.example\n" in hosts(views, "back").values()
    assert views.servers(both.key).read_text() == "server=/example/\nserver=/other/\n"
    # A view that is made later, or again, knows it too; those of the other networks do not.
    later = views.make(("back", "later"), [])
    assert "10.9.9.9 a.example b.example\n" in hosts(views, *later.networks).values()
    assert views.servers(view_key(("far",))).read_text() == ""
    views.name("back", Zones())
    assert hosts(views, "back") == {"m1": DB.line}
    assert views.servers(back.key).read_text() == ""


@pytest.mark.parametrize("text", ["[", "[]", '{"addresses": 5}', '{"domains": 5}'])
def test_a_damaged_record_of_names_counts_as_none(views: Views, text: str) -> None:
    views.name("back", Zones({"10.9.9.9": ("a",)}))
    [record] = (views.directory / "zones").iterdir()
    record.write_text(text)
    views.make(("back",), [DB])
    assert hosts(views, "back") == {"m1": DB.line}


@pytest.mark.parametrize(
    "text", ["[", "[]", "{}", '{"networks": 5, "port": 1}', '{"networks": [], "port": "x"}']
)
def test_a_damaged_view_is_none_and_is_made_again(views: Views, text: str) -> None:
    made = views.make(("back",), [DB])
    (views.hosts(made.key).parent / "view.json").write_text(text)
    assert (views.find(("back",)), views.all()) == (None, [])
    assert views.make(("back",), [DB]) == made


def test_views_that_nothing_uses_are_named_and_forgotten(views: Views) -> None:
    views.make(("back",), [DB])
    views.make(("far",), [])
    (views.directory / "views/0123").mkdir()  # its making was killed
    assert sorted(views.unused({("back",)})) == sorted(["0123", view_key(("far",))])
    for key in list(views.unused({("back",)})):
        views.forget(key)
    views.forget("never")
    assert list(views.unused({("back",)})) == []
    assert [view.networks for view in views.all()] == [("back",)]
