"""The errors a user may see: what happened, the detail that matters, the next thing to type."""

from __future__ import annotations


class StonewareError(Exception):
    """A failure that is shown to the user as sentences; a traceback would be a bug.

    `brief` says what happened in one line, `details` holds what matters about it (several lines are fine),
    `resolution` is the next thing to type, `location` is `file:line` where the fault is in a file, and
    `exit_code` is that of the command (1: the user's build, boot or rollout failed).
    """

    exit_code = 1

    def __init__(self, brief: str, *, details: str = "", resolution: str = "", location: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution
        self.location = location


class InputError(StonewareError):
    """The user's input or usage is wrong, and nothing has been done (exit code 2)."""

    exit_code = 2


class HostError(StonewareError):
    """This computer lacks something; `stoneware doctor` says what and how to get it (exit code 3)."""

    exit_code = 3


class BuildError(StonewareError):
    """A bake failed: a step, the seal, or a check of the image."""


class MachineError(StonewareError):
    """A machine failed to boot, to become healthy, or to obey."""
