"""What the tests with an emulator share: serving one from a thread, and removing what its machines leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from stoneware.platforms.local.instances import CONTENTS
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.images import LocalImageStore


@contextmanager
def served_in_a_thread(runner: web.AppRunner) -> Iterator[int]:
    """Serve in a thread of its own, at the port that is given."""
    loop = asyncio.new_event_loop()

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield port
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(_drained())
    loop.close()


async def _drained() -> None:
    """Let connections end that clients have closed, or that came in as the server ended."""
    for _ in range(20):
        await asyncio.sleep(0)


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
