"""The filter expressions of list methods: comparisons with AND, OR, NOT and brackets, or `field eq RE2`."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from stoneware.emulator import errors

Predicate = Callable[[dict[str, Any]], bool]
_TOKEN = re.compile(
    r"""\s*(?:(\()|(\))|(!=|<=|>=|=|<|>|:)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([^\s()=<>!:"']+))"""
)
# Each is a call, and thousands of them were the end of Python's stack.
_DEEPEST = 50  # brackets and NOTs around each other
_SYMBOLS = ("=", "!=", "<", ">", "<=", ">=", ":")


def parse(text: str) -> Predicate:
    """Return what an expression says about a resource. Raises ApiError (400) for one that cannot be read."""
    reader = _Reader(text)
    predicate = reader.conjunction()
    if reader.tokens:
        raise reader.error()
    return predicate


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        self.depth = 0
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if not found:
                raise self.error()
            self.tokens.append(found.group().strip())
            at = found.end()

    def error(self) -> errors.ApiError:
        return errors.invalid("filter", self.text, "Invalid list filter expression.")

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self) -> str:
        if not self.tokens:
            raise self.error()
        return self.tokens.pop(0)

    def conjunction(self) -> Predicate:
        # OR binds tighter than AND (AIP-160), and terms that only follow each other are joined by AND.
        terms = [self.disjunction()]
        while self.tokens and self.peek() != ")":
            if self.peek() == "AND":
                self.take()
            terms.append(self.disjunction())
        return lambda item: all(term(item) for term in terms)

    def disjunction(self) -> Predicate:
        terms = [self.term()]
        while self.peek() == "OR":
            self.take()
            terms.append(self.term())
        return lambda item: any(term(item) for term in terms)

    def term(self) -> Predicate:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error()
        try:
            return self.deeper()
        finally:
            self.depth -= 1

    def deeper(self) -> Predicate:
        if self.peek() in ("NOT", "-"):
            self.take()
            inner = self.term()
            return lambda item: not inner(item)
        if self.peek() == "(":
            self.take()
            inner = self.conjunction()
            if self.take() != ")":
                raise self.error()
            return inner
        return self.comparison()

    def comparison(self) -> Predicate:
        field, symbol, value = self.take(), self.take(), self.take()
        if value in ("(", ")", *_SYMBOLS) or (symbol not in _SYMBOLS and symbol not in ("eq", "ne")):
            raise self.error()
        value = re.sub(r"\\([\\\"'])", r"\1", value[1:-1]) if value[0] in "\"'" else value
        if symbol in ("eq", "ne"):
            return self.pattern(field, value, symbol == "eq")
        return lambda item: _compare(lookup(item, field), symbol, value)

    def pattern(self, field: str, value: str, wanted: bool) -> Predicate:
        try:
            compiled = re.compile(value)
        except re.error as error:
            raise self.error() from error
        return lambda item: bool(compiled.fullmatch(spelled(lookup(item, field)))) == wanted


def lookup(item: Any, field: str) -> Any:
    """Return the value of a dotted field, None where there is none; through lists, the list of values."""
    if not field or item is None:
        return item
    if isinstance(item, list):
        return [found for each in item if (found := lookup(each, field)) is not None]
    if not isinstance(item, dict):
        return None
    if field in item:  # the keys of labels are taken whole
        return item[field]
    head, _, rest = field.partition(".")
    return lookup(item.get(head), rest)


def spelled(value: Any) -> str:
    """Return a value as filters compare it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compare(have: Any, symbol: str, want: str) -> bool:
    if symbol == "!=":
        return not _compare(have, "=", want)
    if isinstance(have, list):
        return any(_compare(each, symbol, want) for each in have) if have else False
    if symbol == ":":
        return have is not None and (
            want == "*" or want in (have if isinstance(have, dict) else spelled(have))
        )
    if symbol == "=":
        # Google's filters have no wildcard but `*`; the others of fnmatch stand for themselves.
        return fnmatchcase(spelled(have), want.replace("[", "[[]").replace("?", "[?]"))
    return have is not None and _ordered(spelled(have), symbol, want)


def _ordered(have: str, symbol: str, want: str) -> bool:
    try:
        # 64-bit numbers are texts in Google's JSON.
        left, right = float(have), float(want)
    except ValueError:
        sign = (have > want) - (have < want)
    else:
        sign = (left > right) - (left < right)
    return {"<": sign < 0, ">": sign > 0, "<=": sign <= 0, ">=": sign >= 0}[symbol]
