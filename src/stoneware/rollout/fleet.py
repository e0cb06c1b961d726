"""The cluster as a rollout acts on it: a protocol, so that the engine runs over a simulation as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stoneware.rollout.model import MachineView


class Fleet(Protocol):
    """The machines. Every call may be repeated after a kill: what is done already stays as it is."""

    def observe(self) -> Mapping[str, MachineView]:
        """Return all machines of the cluster by short name."""
        ...

    def check(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise PlanRefused where `change` would be refused; asked before anything is stopped."""
        ...

    def stop(self, machines: Sequence[str]) -> None:
        """Stop machines gracefully, each within its own time, and return when all are down.

        One that is down or missing is fine.
        """
        ...

    def change(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Make machines as their entries of Terraform's variables say.

        Raises PlanRefused when Terraform would touch anything else or lose a disk, with nothing done and the
        entries as they were; MachineError when a machine could not be made.
        """
        ...


class Clock(Protocol):
    """Time; a simulation has its own."""

    def time(self) -> float:
        """Return the seconds since the epoch: for the journal, since somebody may set that clock."""
        ...

    def ran(self) -> float:
        """Return the seconds that this process ran since some moment: for limits.

        Time in which it could not look at anything (it or the computer was suspended) is not in it.
        """
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Control(Protocol):
    """What people ask of a running rollout."""

    def request(self) -> str:
        """Return `pause`, `abort`, `rollback` or `interrupt`, or nothing; it is asked for once."""
        ...

    def asker(self) -> str:
        """Return who asked for what `request` has returned last; empty where unknown."""
        ...

    def confirm_canary(self, machines: Sequence[str]) -> bool:
        """Ask whether to go on after the canary."""
        ...
