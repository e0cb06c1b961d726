"""Random names for tests."""

from __future__ import annotations

import string

from hypothesis import strategies as st

LETTERS = string.ascii_letters + "_"


def words(first: str, more: str, max_size: int | None = None) -> st.SearchStrategy[str]:
    """Yield words of these characters, `max_size` at most after the first.

    From a regular expression it takes seconds: hypothesis encodes every character there is to begin with.
    """
    return st.builds(str.__add__, st.sampled_from(first), st.text(first + more, max_size=max_size))
