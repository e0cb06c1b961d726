"""Our dataclasses do what the standard ones do."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import stoneware
from stoneware.dataclass import dataclass as ours

standard = dataclasses.dataclass
Maker = Callable[..., Any]


def points(maker: Maker) -> Any:
    @maker(frozen=True, order=True)
    class Point:
        x: int
        y: int = 0
        seen: list[str] = dataclasses.field(default_factory=list, compare=False, repr=False)
        total: int = dataclasses.field(init=False, default=7)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.x + self.y)

    return Point


def changing(maker: Maker) -> Any:
    @maker
    class Changing:
        name: str
        made: dict[str, int] = dataclasses.field(default_factory=dict, init=False)
        _: dataclasses.KW_ONLY
        limit: int | None = None

    return Changing


def derived(maker: Maker) -> Any:
    @maker(frozen=True)
    class Base:
        name: str

    @maker(frozen=True)
    class Derived(Base):
        size: int = 1

    return Derived


def own(maker: Maker) -> Any:
    @maker(frozen=True)
    class Own:
        name: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own)

        def __hash__(self) -> int:
            return 1

        def __repr__(self) -> str:
            return f"own {self.name}"

    return Own


def empty(maker: Maker) -> Any:
    @maker(frozen=True)
    class Empty:
        """Holds nothing."""

    return Empty


def said(call: Callable[[], object]) -> object:
    """Return what a call returns, or its error."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


CASES: dict[str, tuple[Callable[[Maker], Any], list[Callable[[Any], object]]]] = {
    "frozen": (
        points,
        [
            lambda it: repr(it(1, 2)),
            lambda it: repr(it(y=1, x=2)),
            lambda it: it(1, 2) == it(1, 2, ["seen"]),
            lambda it: it(1, 2) == it(1, 3),
            lambda it: it(1, 2) == (1, 2, 3),
            lambda it: hash(it(1, 2)) == hash((1, 2, 3)),
            lambda it: [it(1, 2) < it(1, 3), it(1, 2) <= it(1, 2), it(2) > it(1, 9), it(1) >= it(1, 1)],
            lambda it: it(1) < 2,
            lambda it: it(),
            lambda it: it(1, 2, [], 4),
            lambda it: it(1, z=2),
            lambda it: setattr(it(1), "x", 2),
            lambda it: setattr(it(1), "z", 2),
            lambda it: delattr(it(1), "x"),
            lambda it: it(1).seen is it(1).seen,
            lambda it: repr(dataclasses.replace(it(1, 2), y=5)),
            lambda it: dataclasses.asdict(it(1, 2)),
            lambda it: [(each.name, each.default) for each in dataclasses.fields(it)][:2],
            lambda it: it.__match_args__,
            lambda it: vars(it(3)),
            lambda it: copy.copy(it(3)) == copy.deepcopy(it(3)) == it(3),
            lambda it: vars(type("Sub", (it,), {})(3)),
            lambda it: setattr(type("Sub", (it,), {})(3), "more", 1),
            lambda it: setattr(type("Sub", (it,), {})(3), "x", 1),
        ],
    ),
    "changing": (
        changing,
        [
            lambda it: repr(it("a", limit=3)),
            lambda it: it("a", 3),
            lambda it: hash(it("a")),
            lambda it: it("a").made is it("a").made,
            lambda it: setattr(it("a"), "name", "b"),
            lambda it: it("a") == it("a"),
            lambda it: it("a") < it("b"),
        ],
    ),
    "derived": (
        derived,
        [
            lambda it: repr(it("a")),
            lambda it: it("a", 2) == it("a", 2),
            lambda it: it.__mro__[1]("a") == it("a", 1),
            lambda it: setattr(it("a"), "name", "b"),
            lambda it: it.__mro__[1]("a"),
        ],
    ),
    "own": (own, [lambda it: [it("a") == it("b"), hash(it("a")), repr(it("a"))]]),
    "empty": (
        empty,
        [lambda it: [repr(it()), it() == it(), hash(it())], lambda it: it(1), lambda it: it.__doc__],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_like_the_standard_decorator(case: str) -> None:
    make, calls = CASES[case]
    a, b = make(ours), make(standard)
    found = [said(lambda call=call: call(a)) for call in calls]  # type: ignore[misc]
    expected = [said(lambda call=call: call(b)) for call in calls]  # type: ignore[misc]
    assert [repr(each) for each in found] == [repr(each) for each in expected]


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(stoneware.__path__, "stoneware."):
        if module.name.rpartition(".")[2] != "__main__":
            try:
                names = vars(importlib.import_module(module.name))
            except ModuleNotFoundError as error:
                if error.name != "google_crc32c":  # of an extra that is not there with the oldest libraries
                    raise
                continue
            # One that is derived and has an __init__ of its own is none itself.
            yield from (
                each
                for each in names.values()
                if isinstance(each, type) and "__dataclass_fields__" in vars(each)
            )


def test_every_class_of_ours_can_be_made() -> None:
    """The standard decorator finds at import what this finds: a default before a field without one."""
    classes = set(_classes())
    assert len(classes) > 200
    for each in classes:
        defaults = {field.name: None for field in dataclasses.fields(each) if field.init}
        with pytest.raises(TypeError, match="unexpected keyword argument 'no such field'"):
            each(**defaults, **{"no such field": 1})
