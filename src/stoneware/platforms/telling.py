"""Sentences of a platform for whoever waits for it: what takes long, and why something is as it is.

Commands listen; where nobody does, as in Terraform's provider, they are lost.
"""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []


def listen(say: Callable[[str], None]) -> None:
    """Have all sentences from now on said by `say`."""
    _listeners[:] = [say]


def tell(sentence: str) -> None:
    """Say a sentence to whoever listens."""
    for say in _listeners:
        say(sentence)
