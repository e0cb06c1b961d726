"""What a project has left of the quotas that builders, machines and images count in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoneware.errors import StonewareError
from stoneware.platforms.google.api import Api

# Compute Engine's names. Balanced disks, which builders and machines have, count as SSD.
_REGION = ("CPUS", "INSTANCES", "SSD_TOTAL_GB", "DISKS_TOTAL_GB")
_PROJECT = ("CPUS_ALL_REGIONS", "IMAGES")
_ADDRESSES = "IN_USE_ADDRESSES"  # public ones


def told(api: Api) -> str:
    """Return how much of each quota is used. Raises StonewareError where one is used up."""
    settings = api.settings
    region = api.get("compute", f"regions/{settings.region}", f"read the quotas of {settings.region}")
    project = api.get("compute", f"/projects/{settings.project}", f"read the quotas of {settings.project}")
    wanted = (*_REGION, *((_ADDRESSES,) if settings.external_ip else ()))
    found = [*_known(region, wanted), *_known(project, _PROJECT)]
    if full := [_words(*each) for each in found if each[1] >= each[2]]:
        raise StonewareError("quotas are used up", details=", ".join(full))
    return ", ".join(_words(*each) for each in found) or "none that Google tells"


def _known(record: Mapping[str, Any], wanted: tuple[str, ...]) -> Iterator[tuple[str, float, float]]:
    """Yield the name of each quota of a region or project, what is used, and its limit."""
    listed = record.get("quotas")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("metric") in wanted:
            used, limit = each.get("usage", 0), each.get("limit")
            if isinstance(used, int | float) and isinstance(limit, int | float):
                yield str(each["metric"]), float(used), float(limit)


def _words(metric: str, used: float, limit: float) -> str:
    return f"{metric} {used:g} of {limit:g}"
