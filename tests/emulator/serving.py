"""An event loop that served an emulator in a thread of its own."""

from __future__ import annotations

import asyncio


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Let connections end that clients have closed, or that came in as the server ended."""

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    loop.run_until_complete(turns())
