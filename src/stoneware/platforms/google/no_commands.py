"""Commands in machines and copies of files, which Google has no way for but SSH."""

# ruff: noqa: ARG002 - what is refused needs no arguments

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stoneware.errors import InputError
from stoneware.model.capability import Capability, refusal
from stoneware.model.execution import PLAIN, Execution


class NoCommands:
    """Refuses them all: see `stoneware.platforms.protocols.Commands`."""

    def execute(self, name: str, argv: Sequence[str], how: Execution = PLAIN) -> int:
        """Refuse."""
        raise _refusal("ssh", name)

    def run(
        self, name: str, argv: Sequence[str], how: Execution = PLAIN, *, timeout: float
    ) -> tuple[int, str]:
        """Refuse."""
        raise _refusal("ssh", name)

    def copy_out(self, name: str, path: str, destination: Path) -> list[str]:
        """Refuse."""
        raise _refusal("scp", f"{name}:{path} {destination}")

    def copy_in(self, source: str | Path, name: str, path: str) -> None:
        """Refuse."""
        raise _refusal("scp", f"{source} {name}:{path}")


def _refusal(command: str, what: str) -> InputError:
    return refusal("google", Capability.COMMANDS, f"gcloud compute {command} {what} --tunnel-through-iap")
