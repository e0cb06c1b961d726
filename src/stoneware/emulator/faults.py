"""Faults on demand: what goes wrong in Google's cloud now and then, as often as the user says."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable

from stoneware.dataclass import dataclass
from stoneware.emulator.errors import ApiError
from stoneware.errors import InputError

SLOW = 60.0  # seconds that a slow operation takes longer
_STATUSES = {
    "429": ApiError(429, "rateLimitExceeded", "Rate limit exceeded (a fault that was asked for)."),
    "500": ApiError(500, "internalError", "Internal error (a fault that was asked for)."),
    "502": ApiError(502, "backendError", "Bad gateway (a fault that was asked for)."),
    "503": ApiError(503, "backendError", "Service unavailable (a fault that was asked for)."),
}
NAMES = ("quota", "stockout", "preempt", "slow-operation", "lost-reply", *_STATUSES)
_METRICS = {
    "addresses": "STATIC_ADDRESSES",
    "disks": "DISKS_TOTAL_GB",
    "firewalls": "FIREWALLS",
    "images": "IMAGES",
    "instances": "INSTANCES",
    "networks": "NETWORKS",
    "snapshots": "SNAPSHOTS",
    "subnetworks": "SUBNETWORKS",
}


@dataclass(frozen=True)
class Fault:
    """One of NAMES, and the chance from 0 to 1 that it happens where it can."""

    name: str
    chance: float = 1.0


def parse(text: str) -> Fault:
    """Return the fault of `NAME` or `NAME:CHANCE`. Raises InputError."""
    name, _, chance = text.partition(":")
    if name not in NAMES or not re.fullmatch(r"0|1|0?\.\d+|1\.0|", chance) or text.endswith(":"):
        raise InputError(
            f"{text!r} is no fault",
            details=f"Faults are {', '.join(NAMES)}, each with a chance from 0 to 1 if wanted.",
            resolution="stoneware emulate google --fault 503:0.1",
        )
    return Fault(name, float(chance or 1))


class Faults:
    """Says for each thing that can go wrong whether it does. `draw` gives numbers from 0 to below 1."""

    def __init__(self, wanted: Iterable[Fault] = (), draw: Callable[[], float] = random.random) -> None:
        self._wanted = {fault.name: fault.chance for fault in wanted}
        self._draw = draw

    def _happens(self, name: str) -> bool:
        return name in self._wanted and self._draw() < self._wanted[name]

    def refusal(self) -> ApiError | None:
        """Return the error that a request gets before anything is done."""
        return next((error for name, error in _STATUSES.items() if self._happens(name)), None)

    def preempts(self) -> bool:
        """Say whether an instance that may be preempted is, in this second."""
        return self._happens("preempt")

    def of_insert(self, parent: str, collection: str) -> ApiError | None:
        """Return the error that the operation of an insert ends with. `parent`: as `projects/p/zones/z`."""
        place = parent.split("/", 2)[2]
        if place.startswith("zones/") and self._happens("stockout"):
            # In Google's words: Terraform passes on these and no code, so clients look for them.
            return ApiError(
                503,
                "zoneResourcePoolExhausted",
                f"The zone '{parent}' does not have enough resources available to fulfill the request.  "
                "Try a different zone, or try again later.",
            )
        if self._happens("quota"):
            where = "globally" if place == "global" else f"in {place.replace('s/', ' ')}"
            return ApiError(
                403, "quotaExceeded", f"Quota '{_METRICS[collection]}' exceeded.  Limit: 0.0 {where}."
            )
        return None

    def slowness(self) -> float:
        """Return how many seconds longer an operation takes."""
        return SLOW if self._happens("slow-operation") else 0.0

    def loses_reply(self) -> bool:
        """Say whether the connection ends in the place of a reply; the request is carried out."""
        return self._happens("lost-reply")
