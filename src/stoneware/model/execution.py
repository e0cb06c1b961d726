"""How a command runs in a machine, as a user asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class Execution:
    """A command's user (Docker's NAME|UID[:GROUP|GID]; "" is root), environment and directory ("" is /).

    With `tty` it has a new terminal of the machine, never ours; `interactive` gives it our input. `env` comes
    besides what every command has.
    """

    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    tty: bool = False
    interactive: bool = False


PLAIN = Execution()  # as root, with no input
