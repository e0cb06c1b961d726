"""Programs that work on a store and are killed at some point."""

from __future__ import annotations

import subprocess
import sys
import time

from stoneware.platforms.local.machines.stop import wait_until
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.local.store.store import Store


def kill_after(after: float, code: str, *words: str) -> None:
    """Run Python, and kill it so many seconds after it has said `go`."""
    worker = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "go\n"
    time.sleep(after)  # the kill's point in time is what is varied
    worker.kill()
    worker.wait()
    worker.stdout.close()


def kill_at_work(store: Store, code: str, after: float) -> None:
    """Do so with Python that works on a store, and clear up what it left."""
    kill_after(after, code, str(store.home))

    def settled() -> bool:
        recover(store)
        return not [*store.data.glob("*/.staged-*")]

    assert wait_until(settled, 300)
