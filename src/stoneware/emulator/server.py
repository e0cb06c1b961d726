"""The APIs over HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from stoneware.emulator import instance_work
from stoneware.emulator.apis import LARGEST
from stoneware.emulator.front import HOST, Front, Log
from stoneware.emulator.guest_connections import Guests
from stoneware.emulator.guest_front import GuestFront
from stoneware.emulator.service import Service
from stoneware.errors import InputError, StonewareError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 0.5  # seconds that a reply under way has at the end; a wait for an operation is cut off
_LOOK = 1.0  # seconds between two looks at the machines


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback; port 0 is any free one. Raises InputError where it cannot."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # An emulator that starts again at once finds its port free.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen(128)
    except (OSError, OverflowError) as error:
        sock.close()
        why = error.strerror if isinstance(error, OSError) else "a port is a number up to 65535"
        raise InputError(
            f"the emulator cannot listen on {HOST}:{port}",
            details=f"{why}.",
            resolution="stoneware emulate google --port 0    # any free port",
        ) from error
    return sock


async def serve(
    service: Service, sock: socket.socket, ready: Callable[[], None], log: Log | None = None
) -> None:
    """Serve the API on a socket until SIGINT, SIGTERM or SIGHUP. `ready` is called once it is served.

    What is done for a request is whole at any end.
    """
    ended = asyncio.Event()
    front = Front(service, log)
    runner = prepared(front)
    await runner.setup()
    guests = Guests(GuestFront(front, service).respond)
    guests.start()
    # The store is opened with the first instance: before, nothing connects from one.
    service.when_opened(lambda computers: computers.open_endpoint(guests.enter))
    loop = asyncio.get_running_loop()
    # An ignored one stays so: with nohup the emulator outlives its terminal.
    taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        await web.SockSite(runner, sock).start()
        for number in taken:
            loop.add_signal_handler(number, ended.set)
        looking = asyncio.create_task(_look(service))
        ready()
        await ended.wait()
        looking.cancel()
    finally:
        with contextlib.ExitStack() as last:
            for number in taken:
                last.callback(loop.remove_signal_handler, number)
            if service.opened is not None:
                service.opened.close_endpoint()
            await guests.close()
            await runner.cleanup()


async def _look(service: Service) -> None:
    """See once a second to machines that have ended by themselves."""
    while True:
        await asyncio.sleep(_LOOK)
        try:
            # In a thread, for to look at machines may take longer than requests should wait.
            await asyncio.to_thread(instance_work.look, service)
        except StonewareError:  # the store is full or busy: the next look sees more
            continue


def prepared(front: Front) -> web.AppRunner:
    """Return what serves the APIs to programs of this computer, below their documents' base paths."""
    app = web.Application(client_max_size=LARGEST)
    app.router.add_route("*", "/{path:.*}", front.respond)
    # Contents of objects are kept as they come.
    return web.AppRunner(app, shutdown_timeout=_GRACE, handle_signals=False, auto_decompress=False)
