"""Bakes that tests watch and hit, and looking for what is left of them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from stoneware.files import locked
from stoneware.platforms.local.host.helpers import Helper
from stoneware.platforms.local.machines.record import Paths, read_process
from stoneware.platforms.local.network.layout import store_digest
from stoneware.process import run

T = TypeVar("T")
Event = dict[str, Any]
Start = Callable[..., "subprocess.Popen[str]"]
LIMIT = 300.0  # seconds that anything here may take
# Shell for a step that says `running` and goes on when the test lets it (`Baking.release`). The step makes
# the file and the test removes it: that needs no room, and leaves nothing in the checkpoint.
HOLD = "touch /tmp/hold; echo running; while [ -e /tmp/hold ]; do sleep 0.05; done"


class Baking:
    """A bake that runs, in a process group of its own, with its events as they come.

    Its steps that hold are released as they come where the test is not to do it (`holds`).
    """

    def __init__(
        self, start: Start, name: str, home: Path, *words: str, holds: bool = True, **options: Any
    ) -> None:
        self.home = home
        self._holds = holds
        self._others = _builders(home)  # such as that of a bake before, which is being removed
        command = ("bake", "-t", name, "--json", "--progress", "json", *words, ".")
        self.process = start(*command, start_new_session=True, **options)
        self.words: list[str] = []  # what was said on stderr besides events
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith('{"event"'):
                event = json.loads(line)
                if event["event"] == "note":
                    self.words.append(event["text"])
                if not self._holds and _is_held(event):
                    self.release()
                self._events.put(event)
            else:
                self.words.append(line.rstrip("\n"))
        self._events.put(None)

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        """Return the first event that is wanted; the bake must not end before."""
        deadline = time.monotonic() + LIMIT
        while True:
            event = self._events.get(timeout=max(0.1, deadline - time.monotonic()))
            assert event is not None, f"ended with {self.process.wait()}:\n{self.said}"
            if wanted(event):
                return event

    def at(self, name: str, /, **fields: Any) -> Event:
        """Wait for the event of a name with these fields."""
        wanted = {"event": name, **fields}
        return self.until(lambda event: wanted.items() <= event.items())

    def until_held(self, index: int = 0) -> None:
        """Wait for a step that holds, of this number or any."""
        self.until(lambda event: _is_held(event) and index in (0, event["index"]))

    def release(self) -> None:
        """Let the steps go on that hold, in all builders of the store."""
        held = [path / "rootfs/tmp/hold" for path in _builders(self.home)]
        there = [path for path in held if path.exists()]
        assert there, "no step holds"
        for path in there:
            path.unlink()

    def through(self, steps: int) -> None:
        """Let the first steps go on, one after another, each of which holds."""
        for number in range(1, steps + 1):
            self.until_held(number)
            self.release()

    def signal(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the command and what runs in its process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert "Traceback" not in self.said, self.said
        return code

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.signal()
        self.process.wait()
        self._reader.join(LIMIT)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def kill(self) -> None:
        self.signal()
        assert self.end() == -signal.SIGKILL

    def result(self) -> dict[str, Any]:
        assert self.end() == 0, self.said
        assert self.process.stdout is not None
        found: dict[str, Any] = json.load(self.process.stdout)
        return found

    @property
    def said(self) -> str:
        return "\n".join(self.words)

    def builder(self) -> Paths:
        """Return the directory of the bake's machine, once it is there."""
        found = [path for path in _builders(self.home) if path not in self._others]
        assert len(found) == 1, found
        return Paths(found[0])

    @contextlib.contextmanager
    def uncaptured(self) -> Iterator[None]:
        """Let the step go on that holds, and the bake up to the capture: that wants its builder's lock."""
        with locked(self.home / "locks/machines" / f"{self.builder().name}.lock"):
            self.release()
            yield


def _builders(home: Path) -> list[Path]:
    return [*(home / "data/machines").glob("bake-*")]


def _is_held(event: Event) -> bool:
    return event.items() >= {"event": "step_output", "text": "running"}.items()


def builder_process(paths: Paths, name: str) -> int:
    """Return the id of a machine's process: shim, nspawn or leader."""
    found = eventually(lambda: read_process(paths, name))
    assert found is not None
    return found


def helper(home: Path, name: str) -> int | None:
    """Return the process id of a store's server that runs."""
    process = Helper(home / "run", name).process()
    return process.pid if process else None


def eventually(look: Callable[[], T], seconds: float = 300) -> T:
    """Look until there is something to see or the time is over; return what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen or time.monotonic() > deadline:
            return seen
        time.sleep(0.01)


def left_over(home: Path) -> list[str]:
    """Return what a bake has left: directories, half-made things, processes, mounts, ports, loop devices."""
    data = home / "data"
    found = [str(path) for kind in ("builds", "machines") for path in (data / kind).iterdir()]
    found += [str(path) for path in data.glob("*/.staged-*")]
    found += _mounts(home) + _processes(home)
    links = run(["ip", "-n", f"sw-{store_digest(home)}", "-brief", "link"], check=False).stdout
    found += [line for line in links.splitlines() if line.startswith("vb-")]
    loops = run(["losetup", "--noheadings", "--output", "BACK-FILE"]).stdout.splitlines()
    own = [line for line in loops if line.strip().startswith(f"{home}/")]
    return found + own[1:]


def _mounts(home: Path) -> list[str]:
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in table]
    return [point for point in points if point.startswith(f"{home}/") and point != str(home / "data")]


def _processes(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{home}/data" in line and "btrfs" not in line:
            found.append(f"{entry.name} {line}")
    return found


def tidy(home: Path) -> bool:
    """Say whether nothing is left, allowing a moment for processes to end."""
    left: list[str] = []

    def clean() -> bool:
        left[:] = left_over(home)
        return not left

    eventually(clean, 60.0)  # the removal of a finished bake's builder among them
    assert not left, left
    return True


def next_to_type(err: str) -> str:
    """Return the first line of what an error says to do."""
    lines = [line for line in err.splitlines() if line.startswith("→ ")]
    assert len(lines) == 1, f"one thing to do next in\n{err}"
    return lines[0].removeprefix("→ ")


def fill(directory: Path) -> None:
    """Fill the file system of a directory to the last block."""
    with (directory / "filler").open("ab") as stream:
        for size in (1 << 28, 1 << 24, 1 << 20, 1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, size)
    run(["sync", "-f", directory])
