"""A range of this computer's ports for one port of the machines (`8000-8002:80`): a port for each replica."""

from __future__ import annotations

import re

from stoneware.launch.flags import bad_port

_SPREAD = re.compile(
    r"(?P<ip>(?:\[[^\]]*\]|[\d.]+):)?(?P<low>\d{1,5})-(?P<high>\d{1,5}):(?P<rest>\d+(?:/\w+)?)", re.ASCII
)


def is_spread(text: str) -> bool:
    """Return whether a mapping gives one port of the machines a range of this computer's."""
    return _SPREAD.fullmatch(text) is not None


def port_of(text: str, slot: int) -> str:
    """Return the mapping of the machine `slot` (from 1): the range's port of that number in its place.

    Any other mapping is returned as it is. Raises InputError where the range has too few ports.
    """
    match = _SPREAD.fullmatch(text)
    if match is None:
        return text
    ports = range(int(match["low"]), int(match["high"]) + 1)
    if not ports:
        raise bad_port(text, "The end of a range is not below its start.")
    if slot > len(ports):
        few = f"Each machine takes a port of the range, which has {len(ports)}, and there are more machines."
        raise bad_port(text, few)
    return f"{match['ip'] or ''}{ports[slot - 1]}:{match['rest']}"
