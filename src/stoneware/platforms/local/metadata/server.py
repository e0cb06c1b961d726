"""The metadata server: `python -m stoneware.platforms.local.metadata.server --home HOME`.

One process per store, in the store's router namespace. It keeps no state, so it may be killed and started
again at any time: see `stoneware.platforms.local.metadata.state` for the files it reads and writes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from stoneware.model.guest_protocol import GUEST_PORT, METADATA_ADDRESS
from stoneware.platforms.local.metadata.console_times import ConsoleTimes
from stoneware.platforms.local.metadata.handover import Handover
from stoneware.platforms.local.metadata.http import Server
from stoneware.platforms.local.metadata.state import MachinesByAddress
from stoneware.platforms.local.metadata.visits import LimitedServer, RareMessages, raise_descriptor_limit
from stoneware.platforms.local.network.layout import RUNTIME, store_digest

_BACKLOG = 4096
# A machine that was killed says no goodbye.
_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; return 1 when the address cannot be had."""
    options = _parse(arguments)
    home = Path(options.home)
    machines, secrets = home / "data" / "machines", home / "data" / "secrets"
    only = machines / (options.machine or "")
    find: Callable[[str], Path | None] = MachinesByAddress(machines).find
    if options.machine:
        find = lambda _address: only if only.is_dir() else None  # noqa: E731
    server = Server(home / "project.json", find, secrets)
    try:
        listener, endpoint = _listeners(options.listen, options.endpoint)
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.listen}: {error.strerror}\n")
        return 1
    raise_descriptor_limit()
    logging.getLogger("aiohttp.server").addFilter(RareMessages())
    times = ConsoleTimes(machines, home / "run")
    handover = Handover(endpoint, find, RUNTIME / store_digest(home), by_port=options.by_port)
    asyncio.run(_serve(server, listener, times, handover, by_port=options.by_port))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="stoneware.platforms.local.metadata.server", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--home", required=True, help="the store")
    parser.add_argument(
        "--listen", default=f"{METADATA_ADDRESS}:80", metavar="ADDRESS:PORT", help="port 0: a free one"
    )
    parser.add_argument("--endpoint", metavar="ADDRESS:PORT", help="that of instances; default: its address")
    parser.add_argument("--machine", metavar="NAME", help="take every client for this machine (for tests)")
    parser.add_argument("--by-port", action="store_true", help="take only what the router has marked")
    return parser.parse_args(arguments)


def _listeners(metadata: str, endpoint: str | None) -> tuple[socket.socket, socket.socket]:
    host, _, port = metadata.rpartition(":")
    beside = f"{host}:{GUEST_PORT if host == METADATA_ADDRESS else 0}"
    first = listen(host, int(port))
    try:
        host, _, port = (endpoint or beside).rpartition(":")
        return first, listen(host, int(port))
    except OSError:
        first.close()
        raise


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. No name is looked up, which could block where there is no DNS."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # Started again at any time: connections of the one before may still be closing.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE.items():
        listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def _serve(
    server: Server, listener: socket.socket, times: ConsoleTimes, handover: Handover, *, by_port: bool
) -> None:
    runner = web.ServerRunner(LimitedServer(server, by_port=by_port), shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    handover.start()
    host, port = listener.getsockname()
    sys.stdout.write(f"listening on {host}:{port}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    noting = asyncio.create_task(times.run())
    await ended.wait()
    noting.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
