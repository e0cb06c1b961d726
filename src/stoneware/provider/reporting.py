"""From our errors to Terraform's diagnostics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stoneware.errors import StonewareError


class Failures:
    """The errors handed to Terraform, kept so that whoever runs it can raise them again as they were."""

    def __init__(self) -> None:
        self._errors: list[StonewareError] = []
        self._lock = threading.Lock()

    def add(self, error: StonewareError) -> None:
        """Keep one error."""
        with self._lock:
            self._errors.append(error)

    def take(self) -> list[StonewareError]:
        """Return all errors and forget them."""
        with self._lock:
            taken, self._errors = self._errors, []
            return taken


def report(diagnostics: Any, error: StonewareError, path: list[Any] | None = None) -> None:
    """Add an error to a call's diagnostics: its brief is the summary, the rest the detail."""
    where = f"{error.location}:" if error.location else ""
    what_next = f"To do next: {error.resolution}" if error.resolution else ""
    detail = "\n".join(part for part in (where, error.details, what_next) if part)
    diagnostics.add_error(error.brief, detail, path=path)


@contextmanager
def reported(diagnostics: Any, failures: Failures, path: list[Any] | None = None) -> Iterator[None]:
    """Turn a StonewareError inside the block into a diagnostic and go on after the block."""
    try:
        yield
    except StonewareError as error:
        failures.add(error)
        report(diagnostics, error, path)
