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
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from stoneware.model.guest_protocol import METADATA_ADDRESS
from stoneware.platforms.local.metadata.console_times import ConsoleTimes
from stoneware.platforms.local.metadata.http import Server
from stoneware.platforms.local.metadata.state import MachinesByAddress
from stoneware.platforms.local.metadata.visits import LimitedServer, RareMessages, raise_descriptor_limit

_BACKLOG = 4096
_ALIVE = {
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
}  # a machine that was killed says no goodbye


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; return 1 when the address cannot be had."""
    options = _parse(arguments)
    home = Path(options.home)
    machines, secrets = home / "data" / "machines", home / "data" / "secrets"
    if options.machine:
        only = machines / options.machine
        server = Server(home / "project.json", lambda _address: only if only.is_dir() else None, secrets)
    else:
        server = Server(home / "project.json", MachinesByAddress(machines).find, secrets)
    host, _, port = options.listen.rpartition(":")
    try:
        listener = listen(host, int(port))
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.listen}: {error.strerror}\n")
        return 1
    raise_descriptor_limit()
    logging.getLogger("aiohttp.server").addFilter(RareMessages())
    times = ConsoleTimes(machines, home / "run")
    asyncio.run(_serve(server, listener, times, by_port=options.by_port))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="stoneware.platforms.local.metadata.server", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--home", required=True, help="the store")
    parser.add_argument(
        "--listen", default=f"{METADATA_ADDRESS}:80", metavar="ADDRESS:PORT", help="port 0: a free one"
    )
    parser.add_argument("--machine", metavar="NAME", help="take every client for this machine (for tests)")
    parser.add_argument("--by-port", action="store_true", help="take only what the router has marked")
    return parser.parse_args(arguments)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. No name is looked up, which could block where there is no DNS."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
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


async def _serve(server: Server, listener: socket.socket, times: ConsoleTimes, *, by_port: bool) -> None:
    runner = web.ServerRunner(LimitedServer(server, by_port=by_port), shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
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
