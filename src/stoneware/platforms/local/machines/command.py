"""Starting commands in running machines of systemd-nspawn: see `inside`.

The machine's own first process starts a command as a transient unit. So the command has the machine's
namespaces, control group, bounding set and system call filter, and nothing of ours but pipes that we made, or
the machine's own pty; nothing of ours is ever inside, where the machine's root could trace it.

What is run, where and with which environment goes through the command's standard input, in one line that its
shell reads before anything else: the properties of a unit can be read by everybody in the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import signal
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines.bus import PROPERTIES, TIMEOUT, Bus, LostError, RefusedError
from stoneware.platforms.local.machines.door import Door, silent
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import NO_STREAMS, Program, Streams, User

# -i: systemd gives units variables of its own, and a command has exactly those that were asked for.
_SHELL = ("/usr/bin/env", "-i", "/bin/sh", "-c", 'IFS= read -r line && eval "$line"', "sh")
# In the machine: go to the directory, then become the command. $1 is the directory.
_CHANGE_DIRECTORY = 'cd -- "$1" || exit 126; shift; exec "$@"'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What shells keep for themselves; env(1) sets these.
_RESERVED = frozenset(
    ("BASHOPTS", "BASH_VERSINFO", "EUID", "IFS", "OPTIND", "PPID", "PS4", "SHELLOPTS", "UID", "line", "n")
)
_LONGEST = 1 << 20  # bytes of arguments and environment: what a pipe may hold (fs.pipe-max-size)
_PIPE = 1 << 16  # bytes that any pipe holds
_UNIT = "org.freedesktop.systemd1.Unit"
_SERVICE = "org.freedesktop.systemd1.Service"
_EXITED = 1  # waitid(2): CLD_EXITED
_MACHINE_GONE = 137
_FAILED = 255
_LOG_ERR = 3
_INFINITY = (1 << 64) - 1
_LOSSES = 20  # connections that may be lost before we give up
_POLL = 0.05  # seconds between two tries to connect again
_GOING_DOWN = 10.0  # seconds that a machine may take to end once its systemd has forgotten a command
_STOP = 5_000_000  # microseconds that a command gets when the machine is switched off


class Command:
    """A command that runs in a machine. For one thread.

    `stdin` is the write end of its input, not blocking, where it has one; the writer ends it with
    `end_input`.
    """

    def __init__(self, door: Door, bus: Bus, unit: str) -> None:
        self._door, self._bus, self._unit = door, bus, unit
        self._path = f"/org/freedesktop/systemd1/unit/{_escaped(unit)}"
        self._code: int | None = None
        self._losses = 0
        self._line = b""
        self._unread = -1  # the read end of the input: the command that has read the line was started
        self.stdin: int | None = None

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            self.kill()
        self.close()

    def close(self) -> None:
        """Let go of the command; it goes on if it still runs."""
        self.end_input()
        if self._unread >= 0:
            os.close(self._unread)
            self._unread = -1
        self._bus.close()
        self._door.close()

    def end_input(self) -> None:
        """Close its standard input: it reads the end."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def wait_with(self, others: Sequence[int], timeout: float | None = None) -> list[int]:
        """Wait until `poll` may know more, or others can be read; return which of those can."""
        try:
            return self._bus.wait(others, timeout)
        except LostError:  # `poll` will see that too
            return []

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        with contextlib.suppress(TimeoutError):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended; 128 and the number of the signal that it died of.

        Raises TimeoutError after `timeout` seconds, MachineError where it never ran, or that is not known.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                if self._bus.woken(left):
                    self._look()
            except LostError:
                self._find_again()
            if self._code is None and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError
        return self._code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it and to all that it has started and that is still about; returns at once."""
        self._bus.tell("KillUnit", "ssi", (self._unit, "all", int(number)))

    # -- how it begins -------------------------------------------------------------------------------------

    def begin(self, line: bytes, user: User, streams: Streams) -> None:
        """Have systemd start it; see `start`. Raises MachineError."""
        self._line = line
        # Ours stays open, so that the line, if no shell has read it, is still there at the end: `_never_ran`.
        self._unread, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.stdin = writer
        # All of it has to fit: nothing reads before the write is done.
        if len(line) > _PIPE:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, len(line))
        os.write(writer, line)
        # The command's own end: ours does not block, and that belongs to the open file.
        reader = os.open(f"/proc/self/fd/{self._unread}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The shell that reads the line is root's; the user it becomes may open /dev/stdin again.
            os.fchown(reader, self._door.ids.uid + user.uid, self._door.ids.gid + user.gid)
            if not streams.feed:
                self.end_input()
            # Before the start, not after: the command may have ended by the time that systemd answers.
            self._bus.watch(self._path)
            self._bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", _unit(self._unit, reader, streams))
        except LostError as error:
            raise silent(self._door.machine) from error
        finally:
            os.close(reader)

    # -- how it ends ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask systemd how the command is."""
        try:
            # The signal that woke us is not believed: everybody in the machine can send one.
            kind = self._property(_SERVICE, "ExecMainCode")
            if kind:
                self._end(kind, self._property(_SERVICE, "ExecMainStatus"))
            # No process has ended and the unit has failed: systemd could not even start one.
            elif self._property(_UNIT, "ActiveState") == "failed":
                self._fail(f"result: {self._property(_SERVICE, 'Result')!a:.40}")
        except RefusedError as error:
            self._forgotten(error.details)

    def _end(self, kind: object, status: object) -> None:
        if not isinstance(kind, int) or not isinstance(status, int):
            self._fail("a status that is none")
            return
        code = (status if kind == _EXITED else 128 + status) & 0xFF
        # Then the code is that of env or of a shell that is not there, and none of the command's.
        if code and self._never_ran():
            self._fail(f"status {status}")
        self._code = code

    def _fail(self, reason: str) -> NoReturn:
        self._code = _FAILED
        raise MachineError(
            f"the machine {self._door.machine!r} could not run the command",
            details=f"its systemd says: {reason}",
            resolution=f"stoneware logs {self._door.machine}",
        )

    def _forgotten(self, reason: str) -> None:
        """Take it that systemd no longer knows the command: in a machine that goes down, it ended with it."""
        deadline = time.monotonic() + _GOING_DOWN
        while self._door.alive():
            if time.monotonic() > deadline:
                self._fail(reason)
            time.sleep(_POLL)
        self._code = _MACHINE_GONE

    def _never_ran(self) -> bool:
        """Say whether the line is unread that is first in the input."""
        try:
            return os.read(self._unread, len(self._line)) == self._line
        except BlockingIOError:
            return False

    def _find_again(self) -> None:
        """Connect once more: the machine's bus has ended, or the machine, or one after the other."""
        self._losses += 1
        deadline = time.monotonic() + TIMEOUT
        while (loaded := self._reconnect()) is None:
            if not self._door.alive():
                self._code = _MACHINE_GONE
                return
            if self._losses > _LOSSES or time.monotonic() > deadline:
                self._code = _FAILED
                raise silent(self._door.machine)
            time.sleep(_POLL)  # a machine that is switched off ends its bus before itself
        # The reference that kept an ended unit (AddRef) went with the old connection.
        if not loaded:
            self._forgotten("the unit is gone, and its exit code with it")
        else:
            with contextlib.suppress(LostError):  # then it is noticed once more
                self._look()

    def _reconnect(self) -> bool | None:
        """Say whether systemd knows the command, None where systemd does not answer."""
        self._bus.close()
        try:
            self._bus = Bus(self._door)
            self._bus.watch(self._path)
            return self._property(_UNIT, "LoadState") == "loaded"
        except RefusedError:
            return False
        except (LostError, MachineError):
            return None

    def _property(self, interface: str, name: str) -> str | int | None:
        return self._bus.call("Get", "ss", (interface, name), path=self._path, interface=PROPERTIES)


def start(
    paths: Paths,
    program: Program,
    streams: Streams = NO_STREAMS,
    *,
    terminal: str = "",
    door: Door | None = None,
) -> Command:
    """Start a program in a running machine; `with` ends it where it still runs.

    `terminal` is the path of a pty of the machine that takes the place of all three streams.

    Raises MachineError where the machine does not run or its systemd does not start the program.
    """
    line = _line(program, terminal=terminal, feed=streams.feed)
    if len(line) > _LONGEST:
        raise InputError("the command and its environment are too long", resolution="pass them as a file")
    opened = door or Door(paths)
    try:
        command = Command(opened, Bus(opened), f"stoneware-exec-{secrets.token_hex(8)}.service")
    except BaseException:
        opened.close()
        raise
    try:
        for descriptor in {streams.stdout, streams.stderr} - {None}:
            # The user of the command may open /dev/stdout again, and so may the user it becomes.
            os.fchown(descriptor or 0, opened.ids.uid + program.user.uid, opened.ids.gid + program.user.gid)
            os.fchmod(descriptor or 0, 0o622)
        command.begin(line, program.user, streams)
    except BaseException:
        command.close()
        raise
    return command


def _unit(name: str, stdin: int, streams: Streams) -> tuple[Any, ...]:
    """Return what StartTransientUnit takes; see systemd.service(5) and systemd.exec(5)."""
    properties: list[tuple[str, tuple[str, Any]]] = [
        ("Description", ("s", "a command of the machine's operator")),
        ("ExecStart", ("a(sasb)", [(_SHELL[0], list(_SHELL), False)])),
        ("Type", ("s", "exec")),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("AddRef", ("b", True)),  # its end is known until we let go
        ("LogLevelMax", ("i", _LOG_ERR)),  # each command of a gate would be told three times
        ("SuccessExitStatus", ("(aiai)", (list(range(1, 256)), list(range(1, 65))))),  # no unit that failed
        ("StandardInputFileDescriptor", ("h", stdin)),
        # It may come before the system is up, and goes when that is switched off, and with nothing else.
        ("DefaultDependencies", ("b", False)),
        ("Conflicts", ("as", ["shutdown.target"])),
        ("Before", ("as", ["shutdown.target"])),
        ("IgnoreOnIsolate", ("b", True)),
        ("TimeoutStopUSec", ("t", _STOP)),
        ("SendSIGHUP", ("b", True)),  # shells ignore SIGTERM
        # As with `docker exec`, what a command leaves running goes on.
        ("KillMode", ("s", "process")),
        ("IgnoreSIGPIPE", ("b", False)),
        ("OOMPolicy", ("s", "continue")),
        ("TasksMax", ("t", _INFINITY)),  # the machine's own limit holds
        ("KeyringMode", ("s", "private")),
    ]
    for stream, descriptor in (("StandardOutput", streams.stdout), ("StandardError", streams.stderr)):
        if descriptor is None:
            properties.append((stream, ("s", "null")))
        else:
            properties.append((f"{stream}FileDescriptor", ("h", descriptor)))
    return name, "fail", properties, []


def _line(program: Program, *, terminal: str, feed: bool) -> bytes:
    """Return the line that the command's shell evaluates: all of the program."""
    words: list[str] = []
    if terminal:  # the first terminal that the first process of a session opens is its own
        words.append(f"exec 0<>{terminal} 1>&0 2>&0;")
    elif not feed:
        words.append("exec </dev/null;")
    env = program.env.items()
    plain = {name: value for name, value in env if _NAME.fullmatch(name) and name not in _RESERVED}
    # Docker passes names that no shell can export, such as `a.b`; env(1) can.
    others = [f"{name}={value}" for name, value in env if name not in plain]
    words += [f"export {name}={_quoted(value)};" for name, value in plain.items()]
    command = [*(("/usr/bin/env", "--", *others) if others else ()), *program.argv]
    if program.user.uid or program.user.gid:
        # Not before chroot(1), which itself goes to the new root's top.
        change = ["/bin/sh", "-c", _CHANGE_DIRECTORY, "sh", program.workdir]
        command = [*_become(program.user), *change, *command]
    elif program.workdir != "/":
        words.append(f"cd -- {_quoted(program.workdir)} || exit 126;")
    text = " ".join([*words, "exec", *map(_quoted, command)])
    if "\n" in text:
        # The shell reads one line only. The dot keeps $(…) from dropping the newline.
        text = "n=$(printf '\\n.'); n=${n%.}; " + text.replace("\n", "'\"$n\"'")
    return os.fsencode(text) + b"\n"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _become(user: User) -> list[str]:
    """Return the command prefix that runs a program of the machine as a user.

    chroot(1), since it takes numbers as such with a plus; setpriv(1) looks them up in /etc/passwd as names.
    """
    groups = ",".join(f"+{number}" for number in user.groups)
    return ["/usr/sbin/chroot", f"--userspec=+{user.uid}:+{user.gid}", f"--groups={groups}", "/"]


def _escaped(unit: str) -> str:
    """Return a unit's name as systemd writes it in a path of D-Bus."""
    # sd_bus_path_encode(3): all but letters and digits as an underscore and two hexadecimal digits.
    return "".join(char if char.isalnum() else f"_{ord(char):02x}" for char in unit)
