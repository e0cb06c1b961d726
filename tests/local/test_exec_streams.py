"""Standard streams of commands in machines: terminals, signals, pipes and their ends."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.platforms.local.machines.stop import wait_until
from tests.local.engine_lab import Bench, bench
from tests.local.operator_terminal import STONEWARE, OperatorTerminal

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def booted(machine_home: Path) -> Iterator[Bench]:
    with bench(machine_home) as made:
        made.boot()
        yield made


def environment(lab: Bench) -> dict[str, str]:
    return {**os.environ, "STONEWARE_HOME": str(lab.home)}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_terminal_is_as_good_as_ones_own(booted: Bench) -> None:
    argv = [*STONEWARE, "exec", "-it", booted.name, "bash", "--norc"]
    with OperatorTerminal(argv, environment(booted)) as terminal:
        terminal.wait_for(b"# ")
        assert terminal.is_raw()
        terminal.send(b"stty size; tty\n")
        terminal.wait_for(b"30 90\r\n/dev/pts/")
        terminal.resize(11, 44)
        terminal.send(b'until [ "$(stty size)" = "11 44" ]; do sleep 0.1; done; echo "re"sized\n')
        terminal.wait_for(b"resized\r\n")
        terminal.send(b"sh -c 'echo begun; exec sleep 1000'\n")
        terminal.wait_for(b"begun\r\n")
        terminal.send(b"\x03")
        terminal.send(b"echo code $?\n")
        terminal.wait_for(b"code 130")
        terminal.send(b"sh -c 'echo again; exec sleep 1001'\n")
        terminal.wait_for(b"again\r\n")
        terminal.send(b"\x1a")
        terminal.wait_for(b"Stopped")
        terminal.send(b"kill -9 %1; exit 9\nexit 9\n")
        assert terminal.end() == 9
        assert not terminal.is_raw()


def test_the_terminal_is_given_back_when_the_command_line_is_told_to_end(booted: Bench) -> None:
    argv = ["sh", "-c", f"{' '.join(STONEWARE)} exec -it {booted.name} sleep 1002; echo code $?; exec cat"]
    with OperatorTerminal(argv, environment(booted)) as terminal:
        assert wait_until(terminal.is_raw, 300)
        children = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        terminal.wait_for(b"code 130")
        assert not terminal.is_raw()
        terminal.send(b"\x04")
        assert terminal.end() == 0


def test_interrupts_end_what_takes_no_keys(booted: Bench) -> None:
    argv = [*STONEWARE, "exec", "-t", booted.name, "sh", "-c", "stty -isig; echo deaf; exec sleep 1004"]
    with OperatorTerminal(argv, environment(booted)) as terminal:
        terminal.wait_for(b"deaf")

        def ended() -> bool:
            terminal.send(b"\x03")
            with contextlib.suppress(AssertionError):
                terminal.end(0.5)
            return terminal.code is not None

        assert wait_until(ended, 300)
        assert terminal.code == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_too(booted: Bench, number: signal.Signals) -> None:
    argv = [*STONEWARE, "exec", booted.name, "sh", "-c", "echo begun; sleep 1003; echo not reached"]
    look = (
        "for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p; echo; done 2>/dev/null | grep -qx 'sleep 1003 '"
    )
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment(booted)) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == b"begun\n"
            # Debian's sh forgets a signal that comes while it starts a program.
            assert wait_until(lambda: booted.sh(look) == 0, 300)
            program.send_signal(number)
            assert program.wait(300) == 130
            assert program.stdout.read() == b""
        finally:
            program.kill()  # or one that goes on would be waited for
    assert wait_until(lambda: booted.sh(look) != 0, 300)


def test_bytes_pass_unchanged_and_end(booted: Bench) -> None:
    data = os.urandom(3_000_000) + bytes(range(256))
    argv = [*STONEWARE, "exec", "-i", booted.name, "cat"]
    done = subprocess.run(argv, input=data, capture_output=True, env=environment(booted), check=True)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    argv = [*STONEWARE, "exec", booted.name, "sh", "-c", "cat; echo out; echo err >&2; exit 4"]
    done = subprocess.run(argv, input=data, capture_output=True, env=environment(booted), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (4, b"out\n", b"err\n")


def test_a_reader_that_has_gone_ends_the_command(booted: Bench) -> None:
    line = f"{' '.join(STONEWARE)} exec {booted.name} sh -c 'yes; echo $? >/run/code' | head -n 1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=environment(booted), check=True)
    assert (done.stdout, done.stderr) == (b"y\n", b"")


def test_what_a_command_leaves_running_holds_nobody_up(booted: Bench) -> None:
    assert booted.sh("sleep 1004 & echo $! >/run/left") == 0
    assert booted.sh("kill $(cat /run/left)") == 0
    assert booted.sh("yes & sleep 0.1; exit 3") == 3


def test_nothing_is_left_open(booted: Bench) -> None:
    assert booted.sh("true", tty=True) == 0
    before = descriptors()
    for options in ({}, {"tty": True}, {"user": "daemon"}):
        assert booted.sh("exit 5", **options) == 5
    booted.platform.run(booted.name, ["sleep", "1005"], timeout=0.5)
    assert descriptors() <= before  # what was open before may be closed meanwhile
