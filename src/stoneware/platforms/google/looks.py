"""What a command has listed of a project, kept to its end: what others left is told without asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stoneware.platforms.google.names import MARK


class Looks:
    """The last lists of instances and disks of ours; None where this command needed none."""

    def __init__(self) -> None:
        self.instances: list[Mapping[str, Any]] | None = None
        self.disks: list[Mapping[str, Any]] | None = None

    def saw_instances(self, listed: Iterable[Mapping[str, Any]]) -> None:
        """Keep those of a list that are ours."""
        self.instances = [one for one in listed if MARK in (one.get("labels") or {})]

    def saw_disks(self, listed: Iterable[Mapping[str, Any]]) -> None:
        """Keep those of a list that are ours."""
        self.disks = [one for one in listed if MARK in (one.get("labels") or {})]
