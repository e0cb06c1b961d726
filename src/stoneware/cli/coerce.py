"""Turning words into values without pydantic, which typer loads for the first parameter that is no flag.

Loading it takes longer than a whole bake that has nothing to do. The types our commands use are few and
plain; any other is left to typer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
import typer.core


@dataclass(frozen=True)
class Plain:
    """Does for one parameter what typer's own coercion does: `one` makes a value of a word."""

    one: Callable[[Any], Any]

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the parameter's value. Raises typer.BadParameter for a word that is none."""
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        try:
            return [self.one(word) for word in value] if many else self.one(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error


def make_quick(params: Iterable[Any]) -> None:
    """Give each parameter that has a plain type a coercion of our own."""
    for param in params:
        if param._runtime_param is None:
            descriptor = param.type_descriptor
            one = _maker(descriptor.annotation, descriptor.parameter_info)
            param._runtime_param = None if one is None else Plain(one)


class QuickCommand(typer.core.TyperCommand):
    """A command whose parameters, --help among them, need no pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's parameters."""
        params = super().get_params(ctx)
        make_quick(params)
        return params

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, with what is required as it is typed."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


class QuickGroup(typer.core.TyperGroup):
    """The same for a command with commands of its own."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the group's parameters."""
        params = super().get_params(ctx)
        make_quick(params)
        return params


def _maker(annotation: Any, info: Any) -> Callable[[Any], Any] | None:
    if get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
    if annotation in (str, Path, bool):
        return annotation  # type: ignore[no-any-return]
    if annotation in (int, float):
        return _number(annotation, info.min, info.max)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _choice(annotation)
    return None


def _number(kind: type[int] | type[float], low: float | None, high: float | None) -> Callable[[Any], Any]:
    def make(word: Any) -> Any:
        try:
            number = kind(word)
        except ValueError:
            raise ValueError(f"{word!r} is not a number") from None
        if (low is not None and number < low) or (high is not None and number > high):
            limits = [
                f"at least {low}" if low is not None else "",
                f"at most {high}" if high is not None else "",
            ]
            raise ValueError(f"{word} is out of range: {' and '.join(filter(None, limits))}")
        return number

    return make


def _choice(kind: type[Enum]) -> Callable[[Any], Any]:
    def make(word: Any) -> Any:
        try:
            return kind(word)
        except ValueError:
            known = ", ".join(str(entry.value) for entry in kind)
            raise ValueError(f"{word!r} is not one of {known}") from None

    return make
