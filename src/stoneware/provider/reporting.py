"""From our errors to Terraform's diagnostics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any, Literal

from stoneware.dataclass import dataclass
from stoneware.errors import StonewareError

Path = list[Any]  # names of attributes and fields; (key,) and (index,) for what is in a map or a list


@dataclass(frozen=True)
class Diagnostic:
    """One message for the user of Terraform; `path` is the attribute it is about."""

    severity: Literal["ERROR", "WARNING"]
    summary: str
    detail: str
    path: Path | None


@dataclass
class Diagnostics:
    """What one call has to tell."""

    found: list[Diagnostic] = field(default_factory=list)

    def add_error(self, summary: str, detail: str = "", path: Path | None = None) -> None:
        """Add an error, which makes the call fail."""
        self.found.append(Diagnostic("ERROR", summary, detail, path))

    def add_warning(self, summary: str, detail: str = "", path: Path | None = None) -> None:
        """Add a warning."""
        self.found.append(Diagnostic("WARNING", summary, detail, path))

    def has_errors(self) -> bool:
        """Say whether the call fails."""
        return any(each.severity == "ERROR" for each in self.found)


class Failures:
    """The errors handed to Terraform, kept so that its caller can raise them again as they were."""

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


def report(diags: Diagnostics, error: StonewareError, path: Path | None = None) -> None:
    """Add an error to a call's diagnostics: its brief is the summary, the rest the detail."""
    where = f"{error.location}:" if error.location else ""
    what_next = f"To do next: {error.resolution}" if error.resolution else ""
    detail = "\n".join(part for part in (where, error.details, what_next) if part)
    diags.add_error(error.brief, detail, path=path)


@contextmanager
def reported(diags: Diagnostics, failures: Failures, path: Path | None = None) -> Iterator[None]:
    """Turn a StonewareError inside the block into a diagnostic and go on after the block."""
    try:
        yield
    except StonewareError as error:
        failures.add(error)
        report(diags, error, path)
