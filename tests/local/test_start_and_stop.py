"""Waiting for the first process of a machine and for its end, by what the kernel tells."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.machines import first_process, kill, stop
from stoneware.platforms.local.machines.record import Paths, Processes, shown_processes
from stoneware.platforms.local.metadata import inotify
from stoneware.process_identity import boot_id, identify


class Machine:
    """A machine's directory, with processes of ours in the parts of its shim and its first process."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root / "web")
        self.paths.run.mkdir(parents=True)
        state = {"id": "m1", "created": 1.0, "started": 2.0, "ports": [], "boot": boot_id()}
        (self.paths.root / "state.json").write_text(json.dumps(state))
        self.looks = 0
        self.children: list[subprocess.Popen[bytes]] = []

    def play(self, part: str, script: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(["sh", "-c", script])
        self.children.append(child)
        self.note(part, child.pid)
        return child

    def note(self, part: str, pid: int) -> None:
        known = identify(pid)
        assert known is not None
        (self.paths.run / part).write_text(f"{known.pid} {known.start}\n")

    def look(self, paths: Paths) -> Processes:
        self.looks += 1
        return shown_processes(paths)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    monkeypatch.setattr(stop, "shown_processes", made.look)
    monkeypatch.setattr(kill, "shown_processes", made.look)
    monkeypatch.setattr(first_process, "shown_processes", made.look)
    yield made
    for child in made.children:
        child.kill()
        child.wait()


def _later(seconds: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def test_a_shim_that_takes_its_machine_down_is_waited_for_without_looking(machine: Machine) -> None:
    leader = machine.play("leader", "exec sleep 3000")
    machine.play("shim", f"while [ -d /proc/{leader.pid} ]; do sleep 0.02; done; exec sleep 0.5")
    threading.Thread(target=leader.wait, daemon=True).start()  # as init does
    stop.power_off(machine.paths, timeout=300)
    assert leader.wait() == -(signal.SIGRTMIN + 4)  # systemd(1)
    assert not shown_processes(machine.paths).alive
    assert machine.looks <= 8  # a look every 5 ms would be a hundred


def test_a_killed_machine_is_waited_for_without_looking(machine: Machine) -> None:
    leader = machine.play("leader", "exec sleep 3000")
    shim = machine.play("shim", f"while [ -d /proc/{leader.pid} ]; do sleep 0.02; done; exec sleep 0.3")
    threading.Thread(target=leader.wait, daemon=True).start()
    began = time.monotonic()
    stop.kill(machine.paths)
    passed = time.monotonic() - began
    assert leader.wait() == -signal.SIGKILL
    assert shim.wait() == 0
    assert machine.looks <= 10 + passed / 0.02  # not one every 5 ms


@pytest.mark.parametrize("told", [True, False])
def test_the_first_process_is_seen_when_the_shim_tells(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, *, told: bool
) -> None:
    if not told:  # all of the computer's inotify instances are in use

        def none() -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(inotify, "Inotify", none)
    shim = machine.play("shim", "exec sleep 3000")
    _later(0.3, lambda: machine.note("leader", shim.pid))
    first_process.await_leader(machine.paths)
    assert machine.looks <= 3


def test_a_report_before_the_wait_is_seen_at_once(machine: Machine) -> None:
    shim = machine.play("shim", "exec sleep 3000")
    machine.note("leader", shim.pid)
    first_process.await_leader(machine.paths)
    assert machine.looks == 1


@pytest.mark.parametrize(("ends", "code"), [(True, 100), (True, 0), (False, 0)])
def test_one_that_has_ended_as_expected_has_started(machine: Machine, *, ends: bool, code: int) -> None:
    (machine.paths.run / "exit").write_text(f"{code} 1\n")
    first_process.await_leader(machine.paths, ends=ends)


@pytest.mark.parametrize(("ends", "error"), [(False, ""), (True, "there is no control group")])
def test_one_that_has_ended_otherwise_has_not(machine: Machine, *, ends: bool, error: str) -> None:
    (machine.paths.run / "exit").write_text("100 1\n")
    (machine.paths.run / "error").write_text(error)
    with pytest.raises(MachineError, match="did not start") as caught:
        first_process.await_leader(machine.paths, ends=ends)
    assert caught.value.details == error
