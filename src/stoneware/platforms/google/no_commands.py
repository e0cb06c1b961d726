"""Commands in machines and copies of files, which Google has no way for but SSH."""

# ruff: noqa: ARG002 - what is refused needs no arguments

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stoneware.errors import InputError
from stoneware.model.capability import Capability


class NoCommands:
    """Refuses them all: see `stoneware.platforms.protocols.Commands`."""

    def execute(
        self,
        name: str,
        argv: Sequence[str],
        *,
        tty: bool = False,
        interactive: bool = False,
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
    ) -> int:
        """Refuse."""
        raise _refused("ssh", name)

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        timeout: float,
        user: str = "",
        env: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Refuse."""
        raise _refused("ssh", name)

    def copy_out(self, name: str, path: str, destination: Path) -> list[str]:
        """Refuse."""
        raise _refused("scp", f"{name}:{path} {destination}")

    def copy_in(self, source: str | Path, name: str, path: str) -> None:
        """Refuse."""
        raise _refused("scp", f"{source} {name}:{path}")


def _refused(command: str, what: str) -> InputError:
    return InputError(
        f"the platform google cannot do this: {Capability.COMMANDS}",
        resolution=f"gcloud compute {command} {what} --tunnel-through-iap",
    )
