"""What differs from what was declared, from four sources, and what could not be found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from stoneware.cluster.model import Desired, Observed
from stoneware.terraform.results import Change


class Source(StrEnum):
    """Where a difference was seen."""

    IMAGE = "image"  # the image that was booted is not the one wanted
    CONFIG = "config"  # the configuration the machine runs with is not the one wanted
    FILE = "file"  # a rendered file is not as the boot agent wrote it
    TERRAFORM = "terraform"  # a machine, disk or network is missing, added, stopped or changed


@dataclass(frozen=True, order=True)
class DriftItem:
    """One difference. `machine` is a short name; for a disk or network its name on the platform.

    `what` says which: `image`, `config`, a path, `machine`, `volume`, `network`, or an attribute's name.
    """

    source: Source
    machine: str
    what: str
    wanted: str
    found: str


@dataclass(frozen=True)
class Unknown:
    """A machine of which something could not be found out, and why: it is never in sync."""

    machine: str
    source: Source
    reason: str


@dataclass(frozen=True)
class DriftReport:
    """What differs and what is not known. `machines` is how many machines were looked at."""

    cluster: str
    machines: int
    items: tuple[DriftItem, ...]
    unknown: tuple[Unknown, ...]

    @property
    def in_sync(self) -> bool:
        """Say whether all is known and nothing differs."""
        return not self.items and not self.unknown


def find_drift(desired: Desired, observed: Observed, refresh: Sequence[Change] | None) -> DriftReport:
    """Compare what was declared with what is.

    `refresh` is what Terraform's refresh found changed behind its back (`Plan.drift`); None: it was not run.
    Files are compared where the observation was made with nonces; a running machine that did not answer is
    unknown, a stopped one is a difference already.
    """
    raise NotImplementedError
