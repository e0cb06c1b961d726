"""Commands in virtual machines: the host's side, against a machine whose commands are processes here."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines.qemu import command
from stoneware.platforms.local.machines.qemu.hardware import SLOTS
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import NO_STREAMS, PATH, Program, Streams, User
from tests.local.virtual_here import TTY, Ports, VirtualHere

pytestmark = pytest.mark.pure


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[VirtualHere]:
    made = VirtualHere(Paths(tmp_path / "v1"))
    yield made
    made.close()


def shell(script: str, **more: object) -> Program:
    return Program(["/bin/sh", "-c", script], **more)  # type: ignore[arg-type]


def ran(machine: VirtualHere, program: Program) -> tuple[int, bytes, bytes]:
    """Run a program and return its code, its output and its errors."""
    out, err = os.pipe(), os.pipe()
    with ThreadPoolExecutor(2) as readers, os.fdopen(out[0], "rb") as said, os.fdopen(err[0], "rb") as errors:
        both = [readers.submit(stream.read) for stream in (said, errors)]
        try:
            with command.start(machine.paths, program, Streams(out[1], err[1])) as running:
                code = running.wait(60)
        finally:
            os.close(out[1])
            os.close(err[1])
        return code, both[0].result(), both[1].result()


def test_output_errors_and_the_code_are_the_commands(machine: VirtualHere) -> None:
    assert ran(machine, shell("echo out; echo err >&2; exit 7")) == (7, b"out\n", b"err\n")
    # Nothing is left that would be ended when the slot is taken again.
    assert not (machine.paths.run / "slot-0").exists()
    assert ran(machine, shell("head -c 300000 /dev/zero"))[1] == bytes(300_000)
    assert machine.others == []


def test_it_gets_its_environment_and_nothing_that_is_no_name(machine: VirtualHere) -> None:
    env = {"A": "b c=d", "NO-NAME": "x", "1": "x", "é": "x"}
    assert ran(machine, shell('echo "$A"', env=env))[1] == b"b c=d\n"
    assert machine.started[0][1] == [f"PATH={PATH}", "A=b c=d"]


def test_it_runs_in_its_directory(machine: VirtualHere, tmp_path: Path) -> None:
    assert ran(machine, shell("pwd", workdir=os.fspath(tmp_path)))[:2] == (0, f"{tmp_path}\n".encode())
    assert ran(machine, shell("pwd", workdir=os.fspath(tmp_path / "none")))[:2] == (126, b"")


def test_another_user_is_become_by_numbers_before_the_directory_is_entered() -> None:
    user = User(1000, 50, (50, 7), "/home/ada")
    words = command._words(Program(["id", "-u"], user=user, workdir="/home/ada"))
    assert words[:5] == ["/usr/sbin/chroot", "--userspec=+1000:+50", "--groups=+50,+7", "/", "/bin/sh"]
    assert words[-3:] == ["/home/ada", "id", "-u"]
    assert command._words(Program(["id"]))[0] == "/bin/sh"


def test_what_is_written_is_its_input_to_the_end(machine: VirtualHere) -> None:
    reader, writer = os.pipe()
    with command.start(machine.paths, shell("cat; echo end"), Streams(writer, feed=True)) as running:
        os.close(writer)
        assert running.stdin is not None
        os.write(running.stdin, b"a\n0\n\0b")
        running.end_input()
        assert running.stdin is None
        assert running.wait(60) == 0
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"a\n0\n\0bend\n"


def test_a_signal_reaches_its_group(machine: VirtualHere) -> None:
    with command.start(machine.paths, shell("sleep 1000; echo no"), NO_STREAMS) as running:
        assert running.poll() is None
        with pytest.raises(TimeoutError):
            running.wait(0.02)
        running.kill(signal.SIGTERM)
        assert running.wait(60) == 143
        assert running.wait_with([]) == []


def test_one_that_still_runs_is_killed_when_it_is_left(machine: VirtualHere) -> None:
    with command.start(machine.paths, shell("exec sleep 1000"), NO_STREAMS):
        [group] = machine.groups
    assert machine.groups == {}
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert machine.others[-1][-2:] == ["9", str(group)]


def test_what_else_can_be_read_is_told_while_it_runs(machine: VirtualHere) -> None:
    reader, writer = os.pipe()
    with command.start(machine.paths, shell("exec sleep 1000"), NO_STREAMS) as running:
        os.write(writer, b"x")
        assert running.wait_with([reader], 60) == [reader]
    os.close(reader)
    os.close(writer)


def test_who_writes_to_a_reader_that_has_gone_gets_the_signal_of_that(machine: VirtualHere) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with command.start(machine.paths, shell("exec cat /dev/zero"), Streams(writer)) as running:
        assert running.wait(60) == 128 + signal.SIGPIPE
    os.close(writer)


# -- slots ---------------------------------------------------------------------------------------------------


def test_one_command_too_many_is_refused_until_another_ends(
    machine: VirtualHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [command.start(machine.paths, shell("exec sleep 1000"), NO_STREAMS) for _ in range(SLOTS)]
    monkeypatch.setattr(command, "_TIMEOUT", 0.01)
    with pytest.raises(MachineError, match=f"{SLOTS} commands run in the machine 'v1'"):
        command.start(machine.paths, shell("true"), NO_STREAMS)
    monkeypatch.undo()
    held.pop(2).__exit__()
    slot = command.Slot(machine.paths)
    assert slot.number == 2
    slot.close()
    for running in held:
        running.__exit__()


def test_what_a_killed_command_line_has_left_is_ended_by_the_next(machine: VirtualHere) -> None:
    (machine.paths.run / "slot-0").write_text("4000 4001\n")
    assert ran(machine, shell("echo a")) == (0, b"a\n", b"")
    assert [words[-2:] for words in machine.others] == [["9", "4000"], ["9", "4001"]]
    (machine.paths.run / "slot-0").write_text("no number\n")
    assert ran(machine, shell("exit 3"))[0] == 3
    assert len(machine.others) == 2


def test_a_command_that_runs_is_in_the_record_of_its_slot(machine: VirtualHere) -> None:
    with command.start(machine.paths, shell("exec sleep 1000"), NO_STREAMS):
        [group] = machine.groups
        wrapper, noted = (machine.paths.run / "slot-0").read_text().split()
        assert int(noted) == group
        assert int(wrapper) >= 5000


# -- machines that are not as they should be -----------------------------------------------------------------


def test_a_command_that_is_too_long_starts_nothing(machine: VirtualHere) -> None:
    with pytest.raises(InputError, match="too long"):
        command.start(machine.paths, Program(["echo", "x" * (1 << 20)]), NO_STREAMS)
    with pytest.raises(InputError, match="too long"):
        command.start(machine.paths, shell("true", env={"A": "é" * (1 << 19)}), NO_STREAMS)
    assert machine.started == []


def test_a_machine_that_is_off_runs_nothing_and_no_slot_stays_taken(machine: VirtualHere) -> None:
    machine.switch_off()
    with pytest.raises(MachineError, match="the machine 'v1' is not running"):
        command.start(machine.paths, shell("true"), NO_STREAMS)
    lock, number = command._take(machine.paths)
    os.close(lock)
    assert number == 0


def end_at_once(ports: Ports, token: str) -> None:
    del ports, token


def say_nothing(ports: Ports, token: str) -> None:
    del token
    ports["in"].recv(1)


def say_another_beginning(ports: Ports, token: str) -> None:
    ports["out"].sendall(f"{token} 12 /etc/passwd\n".encode())
    ports["in"].recv(1)


def say_no_end_of_the_line(ports: Ports, token: str) -> None:
    ports["out"].sendall(token.encode() + b"x" * 1000)
    ports["in"].recv(1)


@pytest.mark.parametrize(
    ("say", "details"),
    [
        (end_at_once, r"It does not begin\.|Its ports are in use"),
        (say_another_beginning, "begins with something else"),
        (say_no_end_of_the_line, "It does not begin"),
    ],
)
def test_a_command_that_does_not_begin_is_an_error(
    machine: VirtualHere, say: Callable[[Ports, str], None], details: str
) -> None:
    machine.say = say
    with pytest.raises(MachineError, match="'v1' could not run the command") as told:
        command.start(machine.paths, shell("true"), NO_STREAMS)
    assert re.search(details, told.value.details)
    assert told.value.resolution == "stoneware logs v1"


def test_a_wrapper_that_ended_without_a_word_is_noticed(
    machine: VirtualHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LOOK", 0.01)
    machine.ended.update(range(5000, 5010))
    machine.say = say_nothing
    with pytest.raises(MachineError) as told:
        command.start(machine.paths, shell("true"), NO_STREAMS)
    assert told.value.details == "Its ports are in use, or programs of Debian's base are missing."


def test_a_command_that_is_over_before_its_beginning_is_read_has_run(machine: VirtualHere) -> None:
    def say(ports: Ports, token: str) -> None:
        ports["err"].sendall(f"{token}\n".encode())  # wakes who waits for the beginning
        assert machine.asked_for_end.wait(60)
        ports["out"].sendall(f"{token} 12 -\nsaid{token} 3\n".encode())
        ports["err"].sendall(f"{token}\n".encode())

    machine.ended.update(range(5000, 5010))
    machine.say = say
    assert ran(machine, shell("true"))[:2] == (3, b"said")


@pytest.mark.parametrize(("code", "found"), [("300", 44), ("0", 0)])
def test_an_exit_code_is_one_byte(machine: VirtualHere, code: str, found: int) -> None:
    def say(ports: Ports, token: str) -> None:
        ports["err"].sendall(f"{token}\n{token}\n".encode())
        ports["out"].sendall(f"{token} 12 -\n{token} {code}\n".encode())

    machine.say = say
    assert ran(machine, shell("true"))[0] == found


def say_half(ports: Ports, token: str) -> None:
    ports["err"].sendall(f"{token}\n".encode())
    ports["out"].sendall(f"{token} 12 -\nhalf".encode())


def say_an_end_that_is_none(ports: Ports, token: str) -> None:
    ports["err"].sendall(f"{token}\n{token}\n".encode())
    ports["out"].sendall(f"{token} 12 -\n{token} 1234\n".encode())


@pytest.mark.parametrize("say", [say_half, say_an_end_that_is_none])
def test_streams_that_end_before_the_command_are_an_error(
    machine: VirtualHere, say: Callable[[Ports, str], None]
) -> None:
    machine.say = say
    with (
        command.start(machine.paths, shell("true"), NO_STREAMS) as running,
        pytest.raises(MachineError) as told,
    ):
        running.wait(60)
    assert told.value.details == "What comes from it ended before it."


def test_a_machine_that_ends_kills_its_commands(machine: VirtualHere) -> None:
    switched_off = threading.Event()

    def say(ports: Ports, token: str) -> None:
        say_half(ports, token)
        switched_off.wait(60)

    machine.say = say
    with command.start(machine.paths, shell("true"), NO_STREAMS) as running:
        assert running.poll() is None
        machine.switch_off()
        switched_off.set()
        assert running.wait(60) == 137


# -- terminals -----------------------------------------------------------------------------------------------


def test_a_terminal_passes_what_is_typed_and_said(machine: VirtualHere) -> None:
    sizes: list[int] = []
    program = shell('read -r word; echo "it\'s $word"; exit 5')
    with command.on_terminal(machine.paths, program, sizes.append) as (running, terminal):
        assert sizes == [terminal.master]
        os.write(terminal.master, b"mine\n")
        assert running.wait(60) == 5
        terminal.close_slave()
        said = b""
        while (data := read_or_end(terminal.master)) != b"":
            said += data
    assert said == b"it's mine\n"
    words = machine.started[0][0]
    assert words[words.index("24 80") - 1] == ""  # nothing is counted: the terminal edits


def read_or_end(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other end of a terminal is closed
        return b""


def test_a_terminal_that_changes_its_size_is_followed(
    machine: VirtualHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl
    import struct
    import termios

    monkeypatch.setattr(command, "_SIZE_LOOK", 0.01)

    def resize(master: int) -> None:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))

    with command.on_terminal(machine.paths, shell("exec sleep 1000"), resize) as (_, terminal):
        terminal.close_slave()  # as at the end of a command, which it is looked at once more
        assert "33 99" in machine.started[0][0]
        fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        deadline = time.monotonic() + 300
        while not machine.others:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert machine.others[0] == ["/bin/stty", "-F", TTY, "rows", "40", "cols", "100"]
