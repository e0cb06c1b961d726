"""What the tests with an emulator share: serving one from a thread, and removing what its machines leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from stoneware.platforms.local.instances import CONTENTS
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.images import LocalImageStore


@contextmanager
def served_in_a_thread(runner: web.AppRunner) -> Iterator[int]:
    """Serve in a thread of its own, at the port that is given."""
    loop = asyncio.new_event_loop()
    served = loop.run_until_complete(_Served.start(runner))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield served.port
    finally:
        asyncio.run_coroutine_threadsafe(served.end(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Served:
    """A server whose end leaves no connection, whatever its clients do."""

    def __init__(self, runner: web.AppRunner, listening: asyncio.Server) -> None:
        self.port = int(listening.sockets[0].getsockname()[1])
        self._runner = runner
        self._listening = listening
        self._transports: list[asyncio.Transport] = []

    @classmethod
    async def start(cls, runner: web.AppRunner) -> Self:
        await runner.setup()
        server = runner.server
        assert server is not None
        made = server.connection_made
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        served = cls(runner, listening)

        def note(handler: RequestHandler, transport: asyncio.Transport) -> None:
            # The server itself forgets those that it has asked to close.
            served._transports.append(transport)
            made(handler, transport)

        server.connection_made = note  # type: ignore[method-assign]
        return served

    async def end(self) -> None:
        """End the server, and cut off connections whose clients take no more of a reply."""
        for each in self._listening.sockets:
            asyncio.get_running_loop().remove_reader(each)
        # asyncio loses the socket of a connection that it has accepted but not made when the server closes.
        # To make one takes four rounds of the loop, none of which waits for anything.
        for _ in range(10):
            await asyncio.sleep(0)
        self._listening.close()
        await self._runner.cleanup()
        for transport in self._transports:
            transport.abort()
        while any(each.get_extra_info("socket").fileno() >= 0 for each in self._transports):
            await asyncio.sleep(0)
        # What answered on one ends with it.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


def tidy(home: Path, state: Path) -> None:
    """Remove an emulator's machines, disks, networks and contents of disks from the store."""
    store = LocalImageStore.open(home)
    platform = LocalPlatform(store)
    for machine in platform.machines():
        if machine.spec.labels.get("stoneware.emulator"):
            platform.destroy(machine.name)
    for volume in store.volumes():
        if volume.labels.get("state") == str(state):
            store.remove_volume(volume.name)
    for network in platform.networks():
        if network.labels.get("state") == str(state):
            platform.destroy_network(network.name)
    for key in store.checkpoint_keys():
        if key.startswith(CONTENTS):
            store.remove_checkpoint(key)
