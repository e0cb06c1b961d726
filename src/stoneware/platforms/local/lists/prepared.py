"""The list that a builder's files will be listed by, made or read while the builder boots."""

from __future__ import annotations

import threading
from pathlib import Path

from stoneware.platforms.local.lists import entries
from stoneware.platforms.local.lists.changes import OddError
from stoneware.platforms.local.lists.entries import FileList
from stoneware.platforms.local.lists.sealing import source_list


class PreparedList:
    """The list of what a builder was made from, in a thread of its own.

    That is a step, mostly the one before the last, so little has changed since. Where such a list cannot be
    had it is that of the step's base.
    """

    def __init__(self, source: Path, base: Path) -> None:
        self._source = source
        self._base = base
        self._found: tuple[Path, FileList] | None = None
        self._failure: Exception | None = None
        # No daemon: a process that ends meanwhile finishes the list, and leaves no half of one.
        self._thread = threading.Thread(target=self._find)
        self._thread.start()

    def wait(self) -> tuple[Path, FileList]:
        """Return a root and its list once they are there. Raises OddError and OSError."""
        self._thread.join()
        if self._found is None:
            raise self._failure or OddError("nothing was found")
        return self._found

    def _find(self) -> None:
        try:
            self._found = self._of_source() or (self._base, entries.known_list(self._base))
        except (OddError, OSError) as error:
            self._failure = error

    def _of_source(self) -> tuple[Path, FileList] | None:
        try:
            return self._source, source_list(self._source, self._base)
        except (OddError, OSError):
            return None  # a name of two lines below /tmp, say, which the base has not
