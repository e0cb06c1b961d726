"""Why ports cannot be published, known before anything is made."""

from __future__ import annotations

import socket

import pytest

from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network.ports import Publication, faults

pytestmark = pytest.mark.pure
ANY = "0.0.0.0"


def test_what_is_in_the_way_of_ports() -> None:
    taken = [Publication("store", "m1", ANY, 8080, "10.0.0.2", 80, "tcp")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wanted = [
            PortMapping("127.0.0.1", 8080, 80),
            PortMapping("", 8080, 80, "udp"),  # another protocol
            PortMapping("", port, 80),
            PortMapping("", 0, 80),  # a free one is taken
            PortMapping("192.0.2.77", 8081, 80),
        ]
        found = faults(wanted, taken, {"m1": "shop-web-1"}.__getitem__)
    assert found[0] == (
        "port 8080/tcp of this computer is in use: the machine shop-web-1 has it, for its port 80"
    )
    assert found[1].startswith(f"port {port}/tcp of this computer is in use: ")
    assert "(process " in found[1]
    assert found[2].endswith("192.0.2.77 is not an address of this computer")
    assert len(found) == 3
