"""QEMU's monitor: what hardware a machine has, and the button that switches it off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from stoneware.errors import MachineError
from stoneware.platforms.local.machines.qemu.hardware import MONITOR
from stoneware.platforms.local.machines.qemu.sockets import connect
from stoneware.platforms.local.machines.record import Paths

_LONGEST = 1 << 16  # bytes of one answer: QEMU may be in the hands of its machine
_TIMEOUT = 3.0  # seconds


def ask(paths: Paths, command: str, timeout: float = _TIMEOUT, **arguments: str | int) -> object:
    """Give QEMU's monitor a command and return its answer.

    Raises MachineError where it does not run, or does not answer in time.
    """
    given = {name.replace("_", "-"): value for name, value in arguments.items()} or None
    return converse(paths, command, timeout, lambda client: client.execute(command, given))


def converse(
    paths: Paths, what: str, timeout: float, work: Callable[[Any], Coroutine[Any, Any, object]]
) -> object:
    """Do something with QEMU's monitor, `what` in a word, and return what that gives.

    Raises MachineError where it does not run, refuses, or does not answer in time.
    """
    from qemu.qmp import QMPClient, QMPError  # before the time runs: it may take longer than the answer

    with connect(paths, MONITOR, timeout) as connection:
        try:
            return asyncio.run(asyncio.wait_for(_with(QMPClient, connection, work), timeout))
        # The library's, the connection's, and what its reader makes of texts too long, too deep or cut off.
        except (QMPError, OSError, EOFError, ValueError, RecursionError) as error:
            raise MachineError(
                f"QEMU does not answer for the machine {paths.name!r}",
                details=f"{what}: {type(error).__name__} {error}".strip(),
                resolution=f"stoneware restart {paths.name}",
            ) from error


async def _with(
    client_of: Callable[..., Any], connection: Any, work: Callable[[Any], Coroutine[Any, Any, object]]
) -> object:
    client = client_of("stoneware", readbuflen=_LONGEST)
    client.logger.disabled = True
    await client.connect(connection)
    try:
        return await work(client)
    finally:
        await client.disconnect()


def press_power_button(paths: Paths) -> None:
    """Ask a machine to switch itself off, as its power button does. Raises MachineError."""
    ask(paths, "system_powerdown")


def main() -> None:
    """Press the button of the machine in a directory: what its shim runs when this computer goes down."""
    press_power_button(Paths(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
