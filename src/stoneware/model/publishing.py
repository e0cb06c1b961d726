"""On which addresses a port can be published."""

from __future__ import annotations

_GROUPS = 224  # the first number of multicast addresses; what is above is reserved


def unpublishable(address: str) -> str:
    """Say why no computer can publish a port on an address; nothing where one may."""
    import socket

    try:
        raw = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        return f"{address!r} is no address of this computer."
    if len(raw) > 4:
        return "Ports are published on IPv4 addresses: machines have no IPv6."
    if raw[0] >= _GROUPS or (raw[0] == 0 and any(raw)):
        return f"{address} is no address of one computer."
    return ""
