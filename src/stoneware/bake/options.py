"""What a user asks of a bake, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoneware.dataclass import dataclass

if TYPE_CHECKING:
    from stoneware.config.secrets import Secret


class OnFailure(StrEnum):
    """What to do when a step fails."""

    STOP = "stop"
    SHELL = "shell"  # a shell in the broken builder, then stop


@dataclass(frozen=True)
class SecretSource:
    """Where a build secret's value comes from: a file, or a variable of our own environment.

    `value` is the variable's where it is known already: an env file may have it alone.
    """

    path: Path | None = None
    variable: str = ""
    value: Secret | None = None


@dataclass(frozen=True)
class BakeOptions:
    """A bake as it was asked for. `file` defaults to the context's Machinefile (or Dockerfile).

    `text` is a Machinefile that has no file of its own; `file` is then what errors call it.
    """

    context: Path
    file: Path | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()  # NAME or NAME:TAG; none: the name of the context's directory
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    pull: bool = False
    skip_checks: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.STOP
    step_timeout: float | None = None  # seconds
    verbose: bool = False
    versioned: bool = True  # False: what is baked is of no work tree, so no commit is looked for


@dataclass(frozen=True)
class BakeResult:
    """A bake that succeeded. `cached` and `ran` count steps; `seconds` is the whole bake."""

    image_id: str
    tags: tuple[str, ...]
    commit: str | None
    dirty: bool
    cached: int
    ran: int
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """Return what `bake --json` prints."""
        return {
            "image_id": self.image_id,
            "tags": list(self.tags),
            "commit": self.commit,
            "dirty": self.dirty,
            "cached": self.cached,
            "ran": self.ran,
            "seconds": round(self.seconds, 3),
        }
