"""Processes that are told apart by when they began."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware import process_identity
from stoneware.process_identity import ProcessIdentity, identify, parse_identity

pytestmark = pytest.mark.pure
_SLEEP = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 300
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def test_this_process_lives_and_is_not_one_that_began_at_another_time() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert own.alive
    assert not ProcessIdentity(own.pid, own.start - 1).alive
    assert process_identity.parent(os.getpid()) == os.getppid()


def test_a_zombie_is_dead_and_an_ended_process_is_gone() -> None:
    with subprocess.Popen(_SLEEP, stdin=subprocess.PIPE) as child:
        found = identify(child.pid)
        assert found is not None
        assert found.alive
        assert child.pid in process_identity.descendants(os.getpid())
        assert until(lambda: process_identity.command_line(child.pid) == _SLEEP)
        assert process_identity.network_namespace(child.pid) == Path("/proc/self/ns/net").stat().st_ino
        child.kill()
        assert until(lambda: not found.alive)  # not waited for yet: a zombie
        assert process_identity.parent(child.pid) == os.getpid()
    assert identify(found.pid) is None
    assert process_identity.parent(found.pid) is None
    assert process_identity.command_line(found.pid) == []
    assert process_identity.network_namespace(found.pid) is None


def test_a_process_that_a_thread_has_started_descends_as_well() -> None:
    children: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()
    over = threading.Event()

    def start() -> None:
        children.put(subprocess.Popen(_SLEEP, stdin=subprocess.PIPE))
        over.wait()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        with children.get() as child:
            assert child.pid in process_identity.descendants(os.getpid())
    finally:
        over.set()
        thread.join()


def test_a_name_with_blanks_and_parentheses_hides_no_field(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to(Path("/bin/cat").resolve())
    with subprocess.Popen([program], stdin=subprocess.PIPE) as child:
        assert until(lambda: Path(f"/proc/{child.pid}/comm").read_text() == f"{program.name}\n")
        found = identify(child.pid)
        assert found is not None
        assert found.alive
        assert process_identity.parent(child.pid) == os.getpid()


@pytest.mark.parametrize("text", ["", "1", "1 2 3", "one 2", "0 5", "-1 5", f"{1 << 31} 5", "1\x002"])
def test_what_is_no_identity(text: str) -> None:
    assert parse_identity(text) is None


def test_an_identity_as_the_shim_writes_it() -> None:
    assert parse_identity("12 345\n") == ProcessIdentity(12, 345)


def test_who_has_a_socket_open() -> None:
    with socket.socket() as mine:
        inode = os.fstat(mine.fileno()).st_ino
        owner = process_identity.socket_owner(inode)
    assert owner is not None
    assert owner.endswith(f"(process {os.getpid()})")
    assert process_identity.socket_owner(inode) is None


def test_the_boot_has_one_identity() -> None:
    assert process_identity.boot_id() == process_identity.boot_id() != ""
