"""Running commands in machines, by entering their namespaces."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stoneware import process
from stoneware.errors import HostError, InputError
from stoneware.local import cgroups, machine_users
from stoneware.local.machine_users import User

# On this computer: join the machine's control groups, then become the command. Threads may run this.
_JOIN_GROUPS = 'while [ "$1" != -- ]; do echo 0 2>/dev/null >"$1"; shift; done; shift; exec "$@"'
_TIMED_OUT = 124  # as timeout(1) says it
_MOST_OUTPUT = 1 << 20  # bytes of a command's output that are kept, from its end
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# In the machine: go to the directory, then become the command. $1 is the directory.
_CHANGE_DIRECTORY = 'cd -- "$1" || exit 126; shift; exec "$@"'


def execute(
    leader: int,
    group: str,
    argv: Sequence[str],
    *,
    tty: bool = False,
    interactive: bool = False,
    env: Mapping[str, str] | None = None,
    user: str = "",
    workdir: str = "",
) -> int:
    """Run a command in a machine on our own standard streams and return its exit code.

    Arguments and environment pass as they are: no shell reads them. `group` is the machine's control group as
    its shim named it. `user` is Docker's NAME|UID[:GROUP|GID].
    As with Docker, a signal's death is 128 + its number. Raises InputError for an unknown user or a `tty`
    without a terminal.
    """
    if not argv:
        raise InputError("no command to run", resolution="stoneware exec NAME COMMAND …")
    if tty and interactive and not sys.stdin.isatty():
        raise InputError("the input is not a terminal", resolution="stoneware exec -i … (without -t)")
    who = machine_users.resolve(Path(f"/proc/{leader}/root"), user)
    environment = _environment(who, env or {}, tty=tty)
    words = [*machine_users.become(who), "/bin/sh", "-c", _CHANGE_DIRECTORY, "sh", workdir or "/", *argv]
    if tty:
        words = ["/usr/bin/script", "--quiet", "--return", "--command", shlex.join(words), "/dev/null"]
        environment["SHELL"] = "/bin/sh"
    groups = cgroups.enter(cgroups.probe(), leader, group)
    return _run(enter(leader, words), environment, groups, interactive=interactive)


def capture(
    leader: int,
    group: str,
    argv: Sequence[str],
    *,
    timeout: float,
    user: str = "",
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command in a machine and return its exit code and the end of what it said on both its streams.

    One that takes longer than `timeout` seconds is killed, with what it started; its code is then 124.
    """
    who = machine_users.resolve(Path(f"/proc/{leader}/root"), user)
    words = enter(leader, [*machine_users.become(who), *argv])
    groups = map(str, cgroups.enter(cgroups.probe(), leader, group))
    words = ["/bin/sh", "-c", _JOIN_GROUPS, "sh", *groups, "--", *words]
    with tempfile.TemporaryFile() as output:  # a pipe would wait for what the command leaves running
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(who, env or {}, tty=False),
            cwd="/",
            start_new_session=True,  # Ctrl-C is not for it
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = _TIMED_OUT
        except BaseException:
            _kill_group(child)
            raise
        if code == _TIMED_OUT:
            _kill_group(child)
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - _MOST_OUTPUT))
        said = output.read().decode(errors="replace")
    return (128 - code if code < 0 else code), said


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def enter(leader: int, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` as a machine's root, in all its namespaces."""
    nsenter = process.which("nsenter")
    if nsenter is None:
        raise HostError("the program 'nsenter' is not on this computer", resolution="stoneware doctor")
    return [str(nsenter), "--target", str(leader), "--all", "--", *argv]


def machine_environment() -> dict[str, str]:
    """Return the environment of commands that the engine itself runs in machines."""
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}


def _environment(who: User, extra: Mapping[str, str], *, tty: bool) -> dict[str, str]:
    environment = {"PATH": _PATH, "HOME": who.home, "container": "systemd-nspawn"}
    if tty:
        environment["TERM"] = os.environ.get("TERM", "xterm")
    environment.update(extra)
    return environment


def _run(argv: Sequence[str], env: Mapping[str, str], groups: Sequence[Path], *, interactive: bool) -> int:
    def under_limits() -> None:
        for group in groups:
            with contextlib.suppress(OSError):  # the machine is just ending, and with it what is run
                group.write_text("0")

    sys.stdout.flush()
    sys.stderr.flush()
    with _signals_for_the_command():
        child = subprocess.Popen(
            list(argv),
            stdin=None if interactive else subprocess.DEVNULL,
            env=dict(env),
            cwd="/",
            preexec_fn=under_limits if groups else None,  # noqa: PLW1509 (no threads write groups)
        )
        code = child.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _signals_for_the_command() -> Iterator[None]:
    """Leave Ctrl-C and Ctrl-\\ to the command: the terminal sends them to it as well as to us."""
    try:
        old = [(number, signal.signal(number, _ignore)) for number in (signal.SIGINT, signal.SIGQUIT)]
    except ValueError:  # not the main thread, which alone gets signals
        old = []
    try:
        yield
    finally:
        for number, handler in old:
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: a handler, unlike SIG_IGN, is not inherited by the command."""
