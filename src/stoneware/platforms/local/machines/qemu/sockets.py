"""The sockets of a virtual machine's QEMU, by name: see launcher.py, which makes them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from stoneware.errors import MachineError
from stoneware.platforms.local.machines.record import Paths, shown_processes

DIRECTORY = "sockets"


def connect(paths: Paths, name: str, timeout: float) -> socket.socket:
    """Connect to a socket of a machine that runs; what is sent and received has `timeout` seconds.

    Raises MachineError where the machine does not run.
    """
    if shown_processes(paths).leader is None:
        raise not_running(paths)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        directory = os.open(paths.run / DIRECTORY, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # by the descriptor: a socket's path may be no longer than 107 bytes
            connection.connect(os.fspath(Path("/proc/self/fd") / str(directory) / name))
        finally:
            os.close(directory)
    except OSError as error:
        connection.close()
        raise not_running(paths) from error
    return connection


def not_running(paths: Paths) -> MachineError:
    """Return the error of a machine that is switched off."""
    return MachineError(
        f"the machine {paths.name!r} is not running", resolution=f"stoneware start {paths.name}"
    )
