"""Filter, order and pages of a list."""

from __future__ import annotations

import base64
import binascii
import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from stoneware.emulator import errors, filters
from stoneware.untrusted.bounded import BoundsError, time_limit

LARGEST = 500  # items of a page
PATIENCE = 5.0  # seconds that a filter may take


def page(items: list[dict[str, Any]], query: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Return one page and the token of the next, None after the last. Raises ApiError (400).

    The token names the last item given: one that is deleted between two pages moves none of the others.
    """
    if query.get("filter"):
        items = kept(items, query["filter"])
    order = query.get("orderBy", "name")
    if order not in ("name", "creationTimestamp desc"):
        raise errors.invalid("orderBy", order, "Must be name or creationTimestamp desc.")
    newest = order != "name"
    keyed = sorted(((_key(item, newest), item) for item in items), key=lambda pair: pair[0], reverse=newest)
    if query.get("pageToken"):
        after = _read(query["pageToken"])
        keyed = [pair for pair in keyed if (pair[0] < after if newest else pair[0] > after)]
    size = query.get("maxResults", LARGEST) or LARGEST
    if size > LARGEST:
        raise errors.invalid("maxResults", size, f"Must be from 0 to {LARGEST}.")
    shown = keyed[:size]
    more = len(keyed) > size
    return [item for _, item in shown], _token(shown[-1][0]) if more else None


def kept(items: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the items that a filter keeps. Raises ApiError (400)."""
    keep = filters.parse(text)
    # Python's expressions can take for ever, RE2's cannot. Only the main thread, the server's, is stopped.
    main = threading.current_thread() is threading.main_thread()
    try:
        with time_limit(PATIENCE) if main else contextlib.nullcontext():
            return [item for item in items if keep(item)]
    except BoundsError as error:
        raise errors.invalid("filter", text, f"The filter {error}.") from error


def _key(item: Mapping[str, Any], newest: bool) -> str:
    name = str(item.get("name", item.get("id", "")))
    when = str(item.get("creationTimestamp", item.get("insertTime", "")))
    # With the link: names are unique within a zone only.
    return f"{when if newest else ''}\n{name}\n{item.get('selfLink', '')}"


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _read(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError) as error:
        raise errors.invalid("pageToken", token, "The page token is invalid.") from error
