"""Runners: what runs a machine. Everything else of the platform knows only what is asked of one here.

A runner starts a machine below the shim (shim.sh), which has its console, port, restarts and exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Machines

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of commands in machines


@dataclass(frozen=True)
class User:
    """Who a command runs as, by numbers; `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


ROOT = User(0, 0, (), "/root")


@dataclass(frozen=True)
class Program:
    """What is run in a machine, as whom and where. Its environment is exactly `env`."""

    argv: Sequence[str]
    user: User = ROOT
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"


@dataclass(frozen=True)
class Streams:
    """What a program's standard streams are.

    `stdout` and `stderr` are write ends of pipes that the caller made (they may be the same, and are the
    caller's to close), None is /dev/null: a file or terminal of ours is never handed in. With `feed` the
    program reads what is written to `Command.stdin`, else nothing.
    """

    stdout: int | None = None
    stderr: int | None = None
    feed: bool = False


NO_STREAMS = Streams()


class Command(Protocol):
    """A command that runs in a machine; `with` ends it where it still runs. For one thread.

    `stdin` is the write end of its input, not blocking, where it has one; the writer ends it with
    `end_input`.
    """

    stdin: int | None

    def __enter__(self) -> Command:
        """Return itself."""
        ...

    def __exit__(self, *_: object) -> None:
        """End it where it still runs."""
        ...

    def end_input(self) -> None:
        """Close its standard input: it reads the end."""
        ...

    def wait_with(self, others: Sequence[int], timeout: float | None = None) -> list[int]:
        """Wait until `poll` may know more, or others can be read; return which of those can."""
        ...

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended; 128 and the number of the signal that it died of.

        Raises TimeoutError after `timeout` seconds, MachineError where it never ran, or that is not known.
        """
        ...

    def kill(self, number: int = ...) -> None:
        """Send a signal to it and to all that it has started and that is still about; returns at once."""
        ...


class Terminal(Protocol):
    """A terminal that a command in a machine has; `master` is our end of it."""

    master: int

    def close_slave(self) -> None:
        """Let our end see the end of the command's output."""
        ...


class Runner(Protocol):
    """What runs machines of one kind."""

    tools: tuple[str, ...]  # names in the table of requirements
    script: str  # the file with its part of the shim, next to that
    environment: Mapping[str, str]  # of commands in its machines, besides what all have
    volume_kind: str  # what its machines' volumes have to be

    def check(self, spec: MachineSpec) -> None:
        """Raise InputError for a machine that it cannot run."""
        ...

    def furnish(self, store: Store, machines: Machines, spec: MachineSpec, directory: Path) -> None:
        """Put what a new machine boots from into its directory; `machines` starts a builder of a disk."""
        ...

    def device(self, number: int, mount: VolumeMount) -> str:
        """Return where a machine finds its n-th volume."""
        ...

    def limit_disk(self, store: Store, paths: Paths, spec: MachineSpec) -> None:
        """Limit what the machine's root may take, before each start."""
        ...

    def limits(self, spec: MachineSpec) -> tuple[int | None, float | None, int]:
        """Return the limits of its processes here: bytes of memory, cores, and how many there may be."""
        ...

    def prepare(self, store: Store, paths: Paths, spec: MachineSpec) -> None:
        """Make what the next run needs."""
        ...

    def settings(self, store: Store, paths: Paths, spec: MachineSpec, machine_id: str) -> str:
        """Return shell text for the shim: the function `run`, and what its own part of the script uses."""
        ...

    def enlarge_volume(self, paths: Paths, mount: VolumeMount, size: int) -> None:
        """Let a running machine have a volume larger; never waits long. Raises MachineError."""
        ...

    def plug(self, store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
        """Let a machine that runs have one of its spec's volumes that is new, a disk at its own place.

        One that it has, and a machine that has ended, are no errors. Raises MachineError.
        """
        ...

    def unplug(self, store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
        """Take a disk at its own place, which its spec has not any more, from a machine that runs.

        Never waits long: raises MachineError where the machine does not let go.
        """
        ...

    def await_up(self, paths: Paths) -> None:
        """Wait until what a machine consists of is there, once its first process is. Raises MachineError."""
        ...

    def recognises(self, words: Sequence[str], machine_id: str) -> bool:
        """Say whether a command line is that of its process for a machine."""
        ...

    def power_off(self, paths: Paths, leader: int) -> None:
        """Ask a machine to switch itself off; called once a second until it has. Never waits long."""
        ...

    def directory(self, paths: Paths) -> Path:
        """Return the directory that has the machine's root file system, or the disk that it is on."""
        ...

    def files(self, paths: Paths) -> Path:
        """Return the root of a machine that is off. Raises InputError where its files cannot be reached."""
        ...

    def start(self, paths: Paths, program: Program, streams: Streams) -> Command:
        """Start a program in a running machine: see `inside.start`."""
        ...

    def on_terminal(
        self, paths: Paths, program: Program, resize: Callable[[int], None]
    ) -> AbstractContextManager[tuple[Command, Terminal]]:
        """Run a program on a new terminal of a running machine; `resize` gives that its size."""
        ...
