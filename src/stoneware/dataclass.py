"""Dataclasses whose `__init__` is compiled when their first object is made.

The standard decorator compiles up to ten methods of each class while its module is imported, most of them for
classes that a command never uses: half of a short command's time. Fields, `replace` and `asdict` are the
standard ones. Classes with slots take the standard decorator: there are thousands of objects of each.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_ORDER = ("lt", "le", "gt", "ge")
_Key = Callable[[Any], tuple[Any, ...]]  # what an object is compared by


def _dataclass(cls: type | None = None, /, *, frozen: bool = False, order: bool = False) -> Any:
    """Make a class a dataclass, as `dataclasses.dataclass` does; fields of the type InitVar do not work."""
    return (lambda made: _made(made, frozen, order)) if cls is None else _made(cls, frozen, order)


def _made(cls: type, frozen: bool, order: bool) -> type:
    own = dict(cls.__dict__)
    if not cls.__doc__:
        cls.__doc__ = cls.__name__  # else the standard decorator inspects a signature
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    key = _key([each.name for each in fields(cls) if each.compare])
    methods: dict[str, Any] = {"__init__": _first_init(cls, frozen), "__repr__": _repr}
    for name in ("eq", *(_ORDER if order else ())):
        methods[f"__{name}__"] = _comparison(key, getattr(operator, name))
    if frozen:
        methods |= _refusals(cls)
    if own.get("__hash__") is None and ("__hash__" not in own or "__eq__" in own):
        own.pop("__hash__", None)  # the one that Python takes away from a class with an `__eq__`
        methods["__hash__"] = _hash(key) if frozen else None
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _first_init(cls: type, frozen: bool) -> Callable[..., None]:
    """Return what stands for `__init__` until the first object is made."""

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        init = _compiled_init(cls, frozen)
        setattr(cls, "__init__", init)  # noqa: B010  # mypy: no assignment to a method
        init(self, *values, **named)

    return __init__


def _compiled_init(cls: type, frozen: bool) -> Callable[..., None]:
    scope: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    by_place, by_name, lines = ["self"], ["*"], []
    for each in fields(cls):
        name, value = each.name, _value(each, scope)
        if each.init:
            (by_name if each.kw_only else by_place).append(_parameter(each, scope))
        elif each.default_factory is MISSING:
            continue
        lines.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    parameters = ", ".join([*by_place, *(by_name if len(by_name) > 1 else ())])
    # The names are those of a class's fields, which are identifiers.
    exec("\n".join([f"def __init__({parameters}):", *lines, " return None"]), scope)  # noqa: S102
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _parameter(each: Field[Any], scope: dict[str, Any]) -> str:
    if each.default is not MISSING:
        scope[f"_default_{each.name}"] = each.default
        return f"{each.name}=_default_{each.name}"
    return each.name if each.default_factory is MISSING else f"{each.name}=_missing"


def _value(each: Field[Any], scope: dict[str, Any]) -> str:
    if each.default_factory is MISSING:
        return each.name
    make = f"_make_{each.name}"
    scope[make] = each.default_factory
    return f"{make}() if {each.name} is _missing else {each.name}" if each.init else f"{make}()"


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({shown})"


def _key(names: list[str]) -> _Key:
    if len(names) > 1:  # of one name attrgetter gives no tuple
        return operator.attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _comparison(key: _Key, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return compare(key(self), key(other)) if other.__class__ is self.__class__ else NotImplemented

    return method


def _hash(key: _Key) -> Callable[[Any], int]:
    return lambda self: hash(key(self))


def _refusals(cls: Any) -> dict[str, Callable[..., None]]:
    """Return the methods that keep a frozen object as it is; a subclass may have attributes of its own."""
    names = frozenset(each.name for each in fields(cls))

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": set_attribute, "__delattr__": delete_attribute}


if TYPE_CHECKING:  # for a type checker it is the standard one
    from dataclasses import dataclass
else:
    dataclass = _dataclass
