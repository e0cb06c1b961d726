"""Commands in machines as units of their systemd: the host's side, over a bus to one that runs them here."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines import bus, command, door
from stoneware.platforms.local.machines.bus import Bus, LostError, RefusedError
from stoneware.platforms.local.machines.command import Command
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import NO_STREAMS, PATH, Program, Streams, User
from tests.local.systemd_here import DoorHere, SystemdHere

pytestmark = pytest.mark.pure

PATHS = Paths(Path("/nowhere/m1"))
ENV = {"PATH": PATH}


@pytest.fixture
def first() -> Iterator[subprocess.Popen[bytes]]:
    """The first process of the machine."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SystemdHere]:
    monkeypatch.setattr(bus, "_SOCKET", str(tmp_path / "bus").lstrip("/"))
    monkeypatch.setattr(door, "_set_user", lambda _: None)  # all are one user here
    made = SystemdHere(tmp_path / "bus")
    yield made
    made.close()


@pytest.fixture
def opened(first: subprocess.Popen[bytes]) -> DoorHere:
    return DoorHere(first.pid)  # the command that is started closes it


def begin(program: Program, opened: DoorHere, streams: Streams = NO_STREAMS) -> Command:
    return command.start(PATHS, program, streams, door=opened)


def ran(program: Program, opened: DoorHere) -> tuple[int, bytes, bytes]:
    out, err = os.pipe(), os.pipe()
    with ThreadPoolExecutor(2) as readers, os.fdopen(out[0], "rb") as said, os.fdopen(err[0], "rb") as errors:
        both = [readers.submit(stream.read) for stream in (said, errors)]
        try:
            with begin(program, opened, Streams(out[1], err[1])) as running:
                code = running.wait(60)
        finally:
            os.close(out[1])
            os.close(err[1])
        return code, both[0].result(), both[1].result()


def shell(script: str, **more: Any) -> Program:
    return Program(["/bin/sh", "-c", script], **{"env": ENV, **more})


# -- the line that a command's shell reads -------------------------------------------------------------------

WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def by_a_shell(program: Program) -> list[bytes]:
    """Return what a program says, whose line a shell has read as in a machine."""
    line = command._line(program, terminal="", feed=True)
    assert line.count(b"\n") == 1
    done = subprocess.run(command._SHELL, input=line, capture_output=True, check=True)
    return done.stdout.split(b"\0")[:-1]


@settings(max_examples=10)
@given(st.lists(WORD, min_size=1, max_size=4))
@example(["it's", '"$(id)"', "a\nb\n", "\\n", "", "-n", "; exit 1 #"])
def test_words_come_through_a_shell_as_they_are(words: list[str]) -> None:
    assert by_a_shell(Program(["/usr/bin/printf", "%s\\0", *words])) == [os.fsencode(word) for word in words]


@settings(max_examples=10)
@given(st.dictionaries(st.sampled_from(["A", "a.b", "n", "_x", "IFS", "UID", "line"]), WORD))
def test_the_environment_is_what_was_asked_for(env: dict[str, str]) -> None:
    said = by_a_shell(Program(["/usr/bin/env", "-0"], env=env))
    found = dict(each.split(b"=", 1) for each in said)
    for own in (b"OLDPWD", b"PWD", b"SHLVL", b"_"):  # of the shell, where that is bash
        found.pop(own, None)
    assert found == {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


def test_a_user_is_become_by_numbers_before_the_directory_is_entered() -> None:
    program = Program(["id"], user=User(1000, 50, (50, 7), "/home/ada"), workdir="/it's")
    assert command._line(program, terminal="", feed=False).decode() == (
        "exec </dev/null; exec '/usr/sbin/chroot' '--userspec=+1000:+50' '--groups=+50,+7' '/' "
        "'/bin/sh' '-c' 'cd -- \"$1\" || exit 126; shift; exec \"$@\"' 'sh' '/it'\"'\"'s' 'id'\n"
    )


def test_a_terminal_takes_the_place_of_all_streams() -> None:
    line = command._line(Program(["sh"]), terminal="/dev/pts/3", feed=False)
    assert line == b"exec 0<>/dev/pts/3 1>&0 2>&0; exec 'sh'\n"


# -- what a command does -------------------------------------------------------------------------------------


def test_output_errors_and_the_code_are_the_commands(systemd: SystemdHere, opened: DoorHere) -> None:
    assert ran(shell("echo out; echo err >&2; exit 7"), opened) == (7, b"out\n", b"err\n")
    assert systemd.settings["SuccessExitStatus"] == (list(range(1, 256)), list(range(1, 65)))
    assert "id" not in str(systemd.settings["ExecStart"])  # everybody in the machine can read that
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened._process)  # it was let go of


def test_its_directory_and_environment_are_as_asked(
    systemd: SystemdHere, opened: DoorHere, tmp_path: Path
) -> None:
    program = shell('pwd; echo "$A"', env={**ENV, "A": "b\nc"}, workdir=os.fspath(tmp_path))
    assert ran(program, opened)[:2] == (0, f"{tmp_path}\nb\nc\n".encode())


def test_a_directory_that_is_not_there_is_126(systemd: SystemdHere, opened: DoorHere, tmp_path: Path) -> None:
    assert ran(shell("pwd", workdir=os.fspath(tmp_path / "none")), opened)[:2] == (126, b"")


def test_what_is_written_is_its_input_to_the_end(systemd: SystemdHere, opened: DoorHere) -> None:
    reader, writer = os.pipe()
    with begin(shell("cat; echo end"), opened, Streams(writer, feed=True)) as running:
        os.close(writer)
        assert running.stdin is not None
        os.write(running.stdin, b"a\n\0b")
        running.end_input()
        assert running.wait(60) == 0
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"a\n\0bend\n"


def test_a_large_environment_fits_into_its_input(systemd: SystemdHere, opened: DoorHere) -> None:
    assert ran(shell('echo "${#A}"', env={**ENV, "A": "x" * 100_000}), opened)[:2] == (0, b"100000\n")


def test_a_command_that_is_too_long_starts_nothing(systemd: SystemdHere, opened: DoorHere) -> None:
    with pytest.raises(InputError, match="too long"), closing(opened):
        begin(shell("true", env={"A": "x" * (1 << 20)}), opened)
    assert systemd.called == []


def test_a_signal_reaches_its_group(systemd: SystemdHere, opened: DoorHere) -> None:
    with begin(shell("sleep 1000; echo no"), opened) as running:
        assert running.poll() is None
        with pytest.raises(TimeoutError):
            running.wait(0.02)
        running.kill(signal.SIGTERM)
        assert running.wait_with([], 60) == []
        assert running.wait(60) == 143


def test_one_that_still_runs_is_killed_when_it_is_left(systemd: SystemdHere, opened: DoorHere) -> None:
    with begin(shell("exec sleep 1000"), opened):
        [process] = systemd._processes.values()
    assert process.wait(60) == -signal.SIGKILL
    assert systemd.called[-1][1][1:] == ("all", 9)


def test_what_else_can_be_read_is_told_while_it_runs(systemd: SystemdHere, opened: DoorHere) -> None:
    reader, writer = os.pipe()
    with begin(shell("exec sleep 1000"), opened) as running:
        os.write(writer, b"x")
        assert running.wait_with([reader], 60) == [reader]
    os.close(reader)
    os.close(writer)


# -- machines that are not as they should be -----------------------------------------------------------------


def test_a_shell_that_is_not_there_is_no_exit_code_of_the_command(
    systemd: SystemdHere, opened: DoorHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_SHELL", ("/usr/bin/env", "-i", "/bin/none"))
    with begin(shell("true"), opened) as running, pytest.raises(MachineError) as told:
        running.wait(60)
    assert told.value.brief == "the machine 'm1' could not run the command"
    assert told.value.details == "its systemd says: status 127"


def test_a_unit_that_never_began_says_why(systemd: SystemdHere, opened: DoorHere) -> None:
    said = {"ExecMainCode": ("i", 0), "ActiveState": ("s", "failed"), "Result": ("s", "resources\x1b[2J")}
    systemd.answer = lambda _, name: said.get(name)
    with begin(shell("true"), opened) as running, pytest.raises(MachineError) as told:
        running.wait(60)
    assert told.value.details == "its systemd says: result: 'resources\\x1b[2J'"


@pytest.mark.parametrize(("kind", "status"), [("i", ("s", "no")), ("s", ("i", 0))])
def test_a_status_that_is_none_is_an_error(
    systemd: SystemdHere, opened: DoorHere, kind: str, status: tuple[str, Any]
) -> None:
    said = {"ExecMainCode": (kind, 1 if kind == "i" else "yes"), "ExecMainStatus": status}
    systemd.answer = lambda _, name: said.get(name)
    with begin(shell("true"), opened) as running, pytest.raises(MachineError, match="could not run"):
        running.wait(60)


def test_an_exit_code_is_one_byte(systemd: SystemdHere, opened: DoorHere) -> None:
    said = {"ExecMainCode": ("i", 1), "ExecMainStatus": ("i", 0x1F00)}
    systemd.answer = lambda _, name: said.get(name)
    with begin(shell("true"), opened) as running:
        assert running.wait(60) == 0


def test_a_refusal_is_told_without_what_a_terminal_would_obey(systemd: SystemdHere, opened: DoorHere) -> None:
    systemd.refuse.add("StartTransientUnit")
    with pytest.raises(RefusedError) as told:
        begin(shell("true"), opened)
    assert told.value.brief == "systemd in the machine 'm1' refuses: StartTransientUnit"
    assert told.value.details == "not today \\x1b[31m"


@pytest.mark.parametrize("welcome", [b"REJECTED\r\n", b"OK 1\r\nERROR\r\n", b"x" * 2000])
def test_what_is_no_bus_is_told(systemd: SystemdHere, opened: DoorHere, welcome: bytes) -> None:
    systemd.welcome = welcome
    with pytest.raises(MachineError, match="systemd in the machine 'm1' does not answer"):
        begin(shell("true"), opened)


def test_a_bus_that_ends_is_found_again(systemd: SystemdHere, opened: DoorHere) -> None:
    with begin(shell("read -r line; exit 9"), opened, Streams(feed=True)) as running:
        systemd.hang_up()
        assert running.stdin is not None
        os.write(running.stdin, b"go on\n")
        assert running.wait(60) == 9
        assert len(systemd.links) == 2


def test_a_machine_that_ends_kills_its_commands(
    systemd: SystemdHere, opened: DoorHere, first: subprocess.Popen[bytes]
) -> None:
    with begin(shell("exec sleep 1000"), opened) as running:
        systemd.close()
        first.kill()
        first.wait()
        assert running.wait(60) == 137


def test_a_unit_that_is_forgotten_has_no_exit_code(
    systemd: SystemdHere, opened: DoorHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_GOING_DOWN", 0.05)
    with begin(shell("exec sleep 1000"), opened) as running:
        kept = systemd.units.copy()
        systemd.units.clear()
        systemd.hang_up()
        with pytest.raises(MachineError) as told:
            running.wait(60)
        assert told.value.details == "its systemd says: the unit is gone, and its exit code with it"
        systemd.units |= kept


def test_a_systemd_that_knows_no_units_after_the_bus_was_lost(
    systemd: SystemdHere, opened: DoorHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_GOING_DOWN", 0.02)
    with begin(shell("exec sleep 1000"), opened) as running:
        systemd.refuse.add("Get")
        systemd.hang_up()
        with pytest.raises(MachineError, match="could not run the command") as told:
            running.wait(60)
        assert "the unit is gone" in told.value.details


def test_a_bus_that_is_lost_again_and_again_is_given_up(
    systemd: SystemdHere, opened: DoorHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with begin(shell("exec sleep 1000"), opened) as running:
        for module in (command, bus):
            monkeypatch.setattr(module, "TIMEOUT", 0.05)
        systemd.close()
        with pytest.raises(MachineError, match="does not answer"):
            running.wait(60)


def test_a_signal_wakes_and_is_not_believed(systemd: SystemdHere, opened: DoorHere) -> None:
    with closing(opened), closing(Bus(opened)) as found:
        assert not found.woken(0.01)
        systemd.wake(systemd.links[0])
        assert found.wait([], 60) == []
        assert found.woken(60)
        assert not found.woken(0)
        systemd.wake(systemd.links[0])
        # It comes before the answer, and the next wait knows of it.
        assert found.call("Get", "ss", ("x", "LoadState"), path="/none", interface="y") == "not-found"
        assert found.woken(0)
        systemd.hang_up()
        with pytest.raises(LostError):
            found.woken(60)
        found.tell("KillUnit", "ssi", ("x", "all", 9))  # no error


def test_bytes_that_are_no_message_are_a_lost_bus(systemd: SystemdHere, opened: DoorHere) -> None:
    with closing(opened), closing(Bus(opened)) as found:
        systemd.links[0].sendall(b"no message of D-Bus at all")
        with pytest.raises(LostError):
            found.woken(60)


def test_an_answer_that_does_not_come_is_not_waited_for(
    systemd: SystemdHere, opened: DoorHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened), closing(Bus(opened)) as found:
        monkeypatch.setattr(bus, "TIMEOUT", 0.05)
        monkeypatch.setattr(systemd, "_reply", lambda *_: None)
        with pytest.raises(MachineError, match="does not answer"):
            found.call("Get", "ss", ("x", "LoadState"))


# -- the door ------------------------------------------------------------------------------------------------


def test_what_is_no_socket_is_not_connected_to(
    systemd: SystemdHere, opened: DoorHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with closing(opened):
        with pytest.raises(MachineError, match="systemd in the machine 'm1' does not answer"):
            opened.connect(str(tmp_path / "file").lstrip("/"), 5)
        with pytest.raises(MachineError, match="has no system bus that answers"):
            opened.connect(str(tmp_path / "none").lstrip("/"), 0.02)
        monkeypatch.setattr(door, "_TIMEOUT", 0.02)
        monkeypatch.setattr(opened, "_connect", lambda *_: signal.pause())
        with pytest.raises(MachineError, match="does not answer"):
            opened.connect("stuck", 0.02)


def test_a_machine_that_has_ended_is_not_waited_for(
    opened: DoorHere, first: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert opened.alive()
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    assert not opened.alive()  # a zombie
    first.wait()
    assert not opened.alive()
    with closing(opened), pytest.raises(MachineError, match="the machine 'm1' is not running"):
        opened.connect(str(tmp_path / "bus").lstrip("/"), 60)


def test_no_link_leads_out_of_a_root(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "outside").write_text("inside")
    (root / "etc/absolute").symlink_to("/outside")
    (root / "etc/up").symlink_to("../../../outside")
    (root / "etc/magic").symlink_to("/proc/self/exe")
    descriptor = os.open(root, os.O_PATH)
    for path in ("outside", "/outside", "../outside", "etc/absolute", "etc/up"):
        with os.fdopen(door.open_in_root(descriptor, path, os.O_RDONLY)) as stream:
            assert stream.read() == "inside"
    with pytest.raises(FileNotFoundError):
        door.open_in_root(descriptor, "etc/magic", os.O_RDONLY)
    os.close(descriptor)


def test_a_door_of_a_machine_that_does_not_run_or_has_our_own_users_is_refused(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "m1")
    paths.run.mkdir(parents=True)
    with pytest.raises(MachineError, match="the machine 'm1' is not running"):
        door.Door(paths)
