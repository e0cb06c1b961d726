"""Pages that have a part which is made from the code."""

from __future__ import annotations


def with_part(page: str, begin: str, end: str, made: str) -> str:
    """Return a page with `made` between two of its lines, in the place of what is there.

    Raises ValueError where the page has not both lines.
    """
    head, found, rest = page.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page has no place for the table: {begin.strip()}")
    return f"{head}{begin}\n{made}\n{end}{tail}"
