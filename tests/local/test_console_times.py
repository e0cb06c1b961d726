"""Noting when consoles were written to."""

from __future__ import annotations

import asyncio
import selectors
from pathlib import Path

from stoneware.platforms.local.metadata.console_times import ConsoleTimes


class Counting(selectors.EpollSelector):
    """Counts how often an event loop looked for something to do."""

    looks = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.looks += 1
        return super().select(timeout)


def test_a_console_that_grows_does_not_keep_the_server_busy(tmp_path: Path) -> None:
    machines = tmp_path / "machines"
    machine = machines / "k1"
    machine.mkdir(parents=True)
    console = machine / "console.log"
    console.write_text("")

    async def grow() -> None:
        noting = asyncio.create_task(ConsoleTimes(machines, tmp_path).run())
        for number in range(40):
            await asyncio.sleep(0.01)
            with console.open("a") as file:
                file.write(f"line {number}\n")
        await asyncio.sleep(0.2)
        noting.cancel()

    selector = Counting()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(grow())
    assert (machine / "console.times").read_bytes()
    assert selector.looks < 500  # a few for each line and each look at the console
