"""Looking into a network namespace without starting a program: sockets made there, and netfilter's tables.

pyroute2 has setns, netlink and nftables too, but its import alone takes 0.3 s and 344 modules, and each `run`
and `exec` looks here. Python has `os.setns` from 3.12 on; nftables rules are text for `nft`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stoneware.platforms.local.network.layout import NAMESPACES

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_NETLINK_NETFILTER = 12
_NFT_MSG_GETTABLE = (10 << 8) | 1
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_NFTA_TABLE_NAME = 1
_FAMILIES = {"ip": 2, "netdev": 5, "bridge": 7}


def path(name: str) -> Path:
    """Return the file that holds a named namespace."""
    return NAMESPACES / name


def inside(name: str, action: Callable[[], T]) -> T:
    """Call `action` in a thread that is in the namespace. Sockets it makes stay there. Raises OSError."""
    results: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), name)
            finally:
                os.close(descriptor)
            results.append(action())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    # A thread of its own: it ends with the work, so no thread of ours is ever left in there.
    thread = threading.Thread(target=enter, name=f"netns {name}")
    thread.start()
    try:
        thread.join()
    except BaseException:  # an interrupt: what is at work is not left to go on by itself
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]


def has_table(family: str, table: str) -> bool:
    """Say whether the current network namespace has an nftables table (family `ip`, `netdev` or `bridge`)."""
    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), _NFTA_TABLE_NAME) + name
    # Netlink aligns attributes to four bytes.
    attribute += b"\0" * (-len(attribute) % 4)
    body = struct.pack("!BBH", _FAMILIES[family], 0, 0) + attribute
    header = struct.pack("=IHHII", 16 + len(body), _NFT_MSG_GETTABLE, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as link:
        link.settimeout(2)
        link.bind((0, 0))
        link.send(header + body)
        reply = link.recv(65536)
    return bool(struct.unpack_from("=H", reply, 4)[0] != _NLMSG_ERROR)
