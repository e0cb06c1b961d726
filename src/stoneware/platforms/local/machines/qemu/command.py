"""Commands in virtual machines: started by the agent, their streams at ports of their own.

A machine has so many slots, each with a port for input, output and errors; a lock on this computer says
which are in use. A command that is still about when its slot is taken again belongs to a command line that
was killed, and is ended. What runs inside is inside.sh.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import secrets
import select
import signal
import socket
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines.qemu.agent import Agent, AgentError, signal_line, talking
from stoneware.platforms.local.machines.qemu.hardware import SLOTS, STREAMS, stream
from stoneware.platforms.local.machines.qemu.sockets import connect
from stoneware.platforms.local.machines.qemu.streams import BEGINNING, END, FromMachine, ToMachine
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.platforms.local.machines.runner import PATH, Command, Program, Streams, Terminal

_INSIDE = Path(__file__).with_name("inside.sh")
_CHANGE_DIRECTORY = 'cd -- "$1" || exit 126; shift; exec "$@"'
_LONGEST = 1 << 20  # bytes of a command and its environment
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TIMEOUT = 30.0  # seconds for a slot to be free, and for a command to begin
_LOOK = 2.0  # seconds between two looks at a machine that says nothing
_SIZE_LOOK = 0.3  # seconds between two looks at the size of a terminal
_MACHINE_GONE, _FAILED = 137, 255


class Slot:
    """One slot of a machine, held by a lock as long as this is open, and its connections."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._lock, self.number = _take(paths)
        self.ports: dict[str, socket.socket] = {}
        try:
            for name in STREAMS:
                self.ports[name] = connect(paths, stream(self.number, name), _TIMEOUT)
                self.ports[name].settimeout(None)
        except BaseException:
            self.close()
            raise

    @property
    def record(self) -> Path:
        """Return the file with the process groups in the machine that use the slot."""
        return self._paths.run / f"slot-{self.number}"

    def note(self, *groups: int) -> None:
        """Record which process groups use the slot."""
        self.record.write_text(" ".join(map(str, groups)) + "\n")

    def end_last(self, agent: Agent) -> None:
        """End what a killed command line has left in the slot."""
        try:
            groups = [int(word) for word in self.record.read_text().split()]
        except (FileNotFoundError, ValueError):
            return
        for group in groups:
            agent.start(signal_line(signal.SIGKILL, group), {})
        self.record.unlink()

    def close(self) -> None:
        """Let go of it."""
        for port in self.ports.values():
            with contextlib.suppress(OSError):
                # Closing alone would not wake the thread that reads from it.
                port.shutdown(socket.SHUT_RDWR)
            port.close()
        os.close(self._lock)


def _take(paths: Paths) -> tuple[int, int]:
    """Return the descriptor that locks a free slot, and the slot's number. Raises MachineError."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        for number in range(SLOTS):
            # A flock: the kernel lets go of it where the command line that has the slot is killed.
            lock = os.open(paths.run / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                return lock, number
        if time.monotonic() > deadline:
            raise MachineError(
                f"{SLOTS} commands run in the machine {paths.name!r}, and that is the most",
                resolution="wait for one of them to end",
            )
        time.sleep(0.1)


class VirtualCommand:
    """A command in a virtual machine: see `runner.Command`."""

    def __init__(self, paths: Paths, slot: Slot) -> None:
        self._paths, self._slot = paths, slot
        self._token = secrets.token_hex(16).encode()
        self._told, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._flows: list[FromMachine] = []
        self._code: int | None = None
        self._wrapper = self._group = 0
        self.tty = ""
        self.stdin: int | None = None

    def __enter__(self) -> VirtualCommand:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            with contextlib.suppress(MachineError):
                self.kill()
            with contextlib.suppress(MachineError, TimeoutError):
                self.wait(_LOOK)
        self.close()

    def close(self) -> None:
        """Let go of the command; it goes on if it still runs."""
        self.end_input()
        self._slot.close()
        for flow in self._flows:
            flow.join(_LOOK)
        # One that lives is held up by whoever reads what it says.
        if not any(flow.is_alive() for flow in self._flows):
            os.close(self._told)
            os.close(self._tell)

    def end_input(self) -> None:
        """Close its standard input: it reads the end."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    # -- how it begins -------------------------------------------------------------------------------------

    def begin(
        self,
        argv: Sequence[str],
        program: Program,
        targets: Mapping[str, int | None],
        *,
        feed: bool,
        terminal: str = "",
        source: int = -1,
    ) -> None:
        """Have the agent start a program as `argv`, which changes user and directory first.

        Returns once it has begun. `source` is the input of a terminal. `targets` become its own. Raises
        MachineError.
        """
        user = program.user
        for name, target in targets.items():
            self._flows.append(FromMachine(self._slot.ports[name], target, self._token, self._wake))
            self._flows[-1].start()
        if feed:
            source, self.stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.stdin, False)
        if source >= 0:
            ToMachine(source, self._slot.ports["in"], self._token, raw=bool(terminal)).start()
        words = [
            *("/usr/bin/setsid", "/bin/sh", "-c", _INSIDE.read_text(), "sh"),
            f"/dev/virtio-ports/{stream(self._slot.number, '')}".rstrip("."),
            *(self._token.decode(), f"{user.uid}:{user.gid}", "feed" if feed else "", terminal, *argv),
        ]
        plain = {name: value for name, value in program.env.items() if _NAME.fullmatch(name)}
        with talking(self._paths) as agent:
            self._slot.end_last(agent)
            self._wrapper = agent.start(words, {"PATH": PATH, **plain})
        # From here on a kill of ours leaves a record by which the next command in this slot ends it.
        self._slot.note(self._wrapper)
        self._await_beginning()

    def _await_beginning(self) -> None:
        deadline = time.monotonic() + _TIMEOUT
        out = self._flows[0]
        while out.split.beginning is None:
            if out.lost or time.monotonic() > deadline:
                self._code = _FAILED
                raise self._failed("It does not begin.")
            self._pause([], _LOOK)
            self._check_wrapper()
        found = BEGINNING.fullmatch(out.split.beginning)
        if found is None:
            self._code = _FAILED
            raise self._failed("What comes from it begins with something else.")
        self._group, self.tty = int(found[1]), found[2].decode().removeprefix("-")
        self._slot.note(self._wrapper, self._group)

    def _check_wrapper(self) -> None:
        """Raise MachineError where what starts the command in the machine has ended already."""
        if self._flows[0].split.beginning is not None:
            return
        with talking(self._paths) as agent:
            ended = agent.has_ended(self._wrapper)
        # A short command may be over before the thread that reads has come to its beginning.
        if ended and not self._begins_within(_LOOK):
            self._code = _FAILED
            raise self._failed("Its ports are in use, or programs of Debian's base are missing.")

    def _begins_within(self, seconds: float) -> bool:
        deadline, out = time.monotonic() + seconds, self._flows[0]
        while out.split.beginning is None and not out.lost and (left := deadline - time.monotonic()) > 0:
            self._pause([], left)
        return out.split.beginning is not None

    def _failed(self, details: str) -> MachineError:
        return MachineError(
            f"the machine {self._paths.name!r} could not run the command",
            details=details,
            resolution=f"stoneware logs {self._paths.name}",
        )

    # -- how it ends ---------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._tell, b".")

    def _pause(self, others: Sequence[int], timeout: float | None) -> list[int]:
        poll = select.poll()
        for descriptor in (self._told, *others):
            poll.register(descriptor, select.POLLIN)
        found = [descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)]
        if self._told in found:
            os.read(self._told, 4096)
        return [descriptor for descriptor in found if descriptor != self._told]

    def wait_with(self, others: Sequence[int], timeout: float | None = None) -> list[int]:
        """Wait until `poll` may know more, or others can be read; return which of those can."""
        if self._code is not None:
            return []
        return self._pause(others, timeout)

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        out = self._flows[0]
        if self._code is None and any(flow.refused for flow in self._flows):
            for flow in self._flows:
                flow.refused = False
            # What the kernel does to who writes into a pipe that nothing reads.
            self._signal(signal.SIGPIPE)
        if self._code is None and all(flow.lost or flow.split.end is not None for flow in self._flows):
            found = END.fullmatch(out.split.end) if out.split.end is not None else None
            if found is not None:
                self._code = int(found[1]) & 0xFF
                self._slot.record.unlink(missing_ok=True)
            elif shown_processes(self._paths).leader is None:
                self._code = _MACHINE_GONE
            else:
                self._code = _FAILED
                raise self._failed("What comes from it ended before it.")
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended. Raises TimeoutError and MachineError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._pause([], left)
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it and to all that is in its process group; returns at once."""
        with contextlib.suppress(AgentError):
            self._signal(number)

    def _signal(self, number: int) -> None:
        group = self._group or self._wrapper
        if group:  # else nothing of it is there
            with talking(self._paths, _TIMEOUT) as agent:
                agent.start(signal_line(number, group), {})

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        with contextlib.suppress(MachineError), talking(self._paths, _TIMEOUT) as agent:
            size = ["rows", str(rows), "cols", str(columns)]
            agent.start(["/bin/stty", "-F", self.tty, *size], {})


def _words(program: Program) -> list[str]:
    """Return the words that run a program as its user, in its directory. Raises InputError: too long."""
    user, env = program.user, program.env
    if sum(len(os.fsencode(word)) + 1 for word in (*program.argv, *env, *env.values())) > _LONGEST:
        raise InputError("the command and its environment are too long", resolution="pass them as a file")
    words = ["/bin/sh", "-c", _CHANGE_DIRECTORY, "sh", program.workdir, *program.argv]
    if user.uid or user.gid:
        # By chroot(1), as in containers: setpriv(1) would look the numbers up in the machine's passwd.
        groups = ",".join(f"+{number}" for number in user.groups)
        become = f"--userspec=+{user.uid}:+{user.gid}"
        return ["/usr/sbin/chroot", become, f"--groups={groups}", "/", *words]
    return words


def start(paths: Paths, program: Program, streams: Streams) -> Command:
    """Start a program: see `inside.start`."""
    words = _words(program)
    command = VirtualCommand(paths, Slot(paths))
    try:
        given = {"out": streams.stdout, "err": streams.stderr}
        targets = {name: None if target is None else os.dup(target) for name, target in given.items()}
        command.begin(words, program, targets, feed=streams.feed)
    except BaseException:
        command.close()
        raise
    return command


class _Pty:
    """A pty of this computer whose far end is joined to a port: `master` is for who has the real terminal."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        # Echo and editing are done by the machine's terminal; this one would do them a second time.
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)

    def size(self) -> tuple[int, int]:
        """Return its rows and columns; 24 and 80 where nobody has said."""
        # Of our end, which is there to the last: who follows the size may ask when the other is closed.
        rows, columns, *_ = struct.unpack("HHHH", fcntl.ioctl(self.master, termios.TIOCGWINSZ, bytes(8)))
        return rows or 24, columns or 80

    def close_slave(self) -> None:
        """Let the master see the end."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        """Hang up."""
        self.close_slave()
        os.close(self.master)


@contextlib.contextmanager
def on_terminal(
    paths: Paths, program: Program, resize: Callable[[int], None]
) -> Iterator[tuple[Command, Terminal]]:
    """Run a program on a terminal of the machine's own, which a pty here stands for."""
    words = _words(program)
    # script(1), which makes the terminal inside, takes its command as one text for sh.
    text = "exec " + " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    done = threading.Event()
    with contextlib.closing(_Pty()) as terminal:
        resize(terminal.master)
        with VirtualCommand(paths, Slot(paths)) as command:
            size = terminal.size()
            command.begin(
                [text],
                program,
                {"out": os.dup(terminal.slave), "err": None},
                feed=False,
                terminal=f"{size[0]} {size[1]}",
                source=os.dup(terminal.slave),
            )
            watcher = threading.Thread(target=_follow, args=(command, terminal, size, done), daemon=True)
            watcher.start()
            try:
                yield command, terminal
            finally:
                done.set()
                watcher.join()


def _follow(command: VirtualCommand, terminal: _Pty, size: tuple[int, int], done: threading.Event) -> None:
    """Give the machine's terminal the size of ours whenever that changes."""
    while not done.wait(_SIZE_LOOK):
        with contextlib.suppress(OSError):
            now = terminal.size()
            if now != size:
                size = now
                command.resize(*now)
