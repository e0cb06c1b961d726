"""What a program that is started by posix_spawn must not get of what this process was started with."""

from __future__ import annotations

import os

_STANDARD = 3  # input, output and errors come first


def closing() -> list[tuple[int, int]]:
    """Return the file actions of posix_spawn that close all inherited descriptors but the standard three.

    Python's own close at an exec; the caller's, such as a lock's, would stay open as long as it runs.
    """
    actions = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 — names alone
        descriptor = int(name)
        try:
            if descriptor >= _STANDARD and os.get_inheritable(descriptor):
                actions.append((os.POSIX_SPAWN_CLOSE, descriptor))
        except OSError:  # that of the list itself
            continue
    return actions
