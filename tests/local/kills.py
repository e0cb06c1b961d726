"""Programs that work on a store and are killed at some point."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from stoneware.files import read_json, write_json
from stoneware.platforms.local.machines import stop as machine_stop
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.stop import wait_until
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.local.store.store import Store

# `mortal()` has the process killed right before the nth of its changes: a file that is opened to be written
# or locked, one that is moved or removed, what is asked of the kernel, a program that is started; or right
# after that.
_MORTAL = """
import os, signal, subprocess, sys
left = int(sys.argv.pop(1))
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "fcntl.ioctl")
def count():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
def hear(event, words):
    if event in CHANGES or (event == "open" and words[2] & (os.O_WRONLY | os.O_RDWR)):
        count()
class Popen(subprocess.Popen):
    def __init__(self, *words, **options):
        count()
        super().__init__(*words, **options)
        count()
def mortal():
    subprocess.Popen = Popen
    sys.addaudithook(hear)
"""


def kill_before(change: int, code: str, *words: str) -> bool:
    """Run Python that is killed before a change; say whether it came so far."""
    done = subprocess.run([sys.executable, "-c", _MORTAL + code, str(change), *words], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


def kill_at_work(store: Store, code: str, change: int) -> None:
    """Do so with Python that works on a store without end, and clear up what it left."""
    assert kill_before(change, code, str(store.home))

    def settled() -> bool:
        recover(store)
        return not [*store.data.glob("*/.staged-*")]

    assert wait_until(settled, 300)


def lose_power(paths: Paths) -> None:
    """Leave a machine as a computer that lost power does: no shim wrote its end, another boot began it."""
    stopped = (paths.run / "stop").exists()
    machine_stop.kill(paths)
    if not stopped:
        (paths.run / "stop").unlink()
        (paths.run / "exit").unlink()
    state: dict[str, Any] = read_json(paths.root / "state.json") or {}
    write_json(paths.root / "state.json", {**state, "boot": "the boot before"}, mode=0o600)
