"""What is left behind: control groups of machines that are gone, machines whose command was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.model.machine import Machine
from stoneware.platforms.local.store import recover
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine


def until(done: Callable[[], bool], what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def groups(machine_id: str) -> list[Path]:
    """Return the control groups of a machine, in whatever hierarchy the host has."""
    own = (f"/stoneware/{machine_id}", f"/stoneware-{machine_id}.service")
    # Not by a glob, which stumbles over groups that go meanwhile.
    return [Path(path) for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(own)]


def test_a_machine_that_is_gone_has_no_control_groups(lab: Bench) -> None:
    machine = lab.boot(remove_when_stopped=True)
    assert groups(machine.id)
    lab.platform.stop(lab.name)
    until(lambda: not groups(machine.id), "stopped by us")
    machine = lab.boot(remove_when_stopped=True)
    leader = lab.processes().leader
    assert leader is not None
    os.kill(leader, signal.SIGRTMIN + 4)  # powers itself off: its shim removes it
    until(lambda: not lab.paths().root.exists(), "it is still there")
    until(lambda: not groups(machine.id), "stopped by itself")
    machine = lab.boot()
    lab.platform.stop(lab.name)  # is not removed: its shim alone cleans up
    until(lambda: not groups(machine.id), "stopped and kept")


def test_a_machine_whose_shim_was_killed_has_none_either(lab: Bench) -> None:
    machine = lab.boot()
    shim = lab.processes().shim
    assert shim is not None
    os.kill(shim, signal.SIGKILL)
    until(lambda: lab.processes().shim is None, "the shim lives")
    lab.platform.destroy(lab.name)
    assert not groups(machine.id)


OWNER = """
import sys
from pathlib import Path
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from stoneware.model.machine import MachineSpec
home, name, source, tied = sys.argv[1:]
platform = LocalPlatform(Store.open(Path(home)))
platform.create(MachineSpec(name, source, tied=tied, remove_when_stopped=tied == "remove"))
print("made", flush=True)
sys.stdin.read()
"""


def killed_owner(lab: Bench, tied: str, *, shim: bool = False) -> None:
    words = [sys.executable, "-c", OWNER, str(lab.home), lab.name, f"checkpoint:{lab.base}", tied]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "made\n"
        lab.booted()
        assert recover.recover(lab.store) == []  # its owner lives: it is left alone
        if shim:
            number = lab.processes().shim
            assert number is not None
            os.kill(number, signal.SIGKILL)
        owner.kill()


def test_a_machine_ends_with_the_command_that_was_killed(lab: Bench) -> None:
    killed_owner(lab, "remove")
    until(lambda: not lab.paths().root.exists(), "it runs on")


def test_the_next_command_removes_it_where_its_shim_is_gone_too(lab: Bench) -> None:
    killed_owner(lab, "remove", shim=True)
    told = recover.recover(lab.store)
    assert told == [f"removed the machine {lab.name}, whose command was killed"]
    assert not lab.paths().root.exists()


def test_a_machine_that_is_to_stay_is_stopped_and_can_be_started(lab: Bench) -> None:
    killed_owner(lab, "stop")
    until(lambda: not lab.processes().alive, "it runs on")
    assert lab.platform.observe(lab.name) is not None
    lab.platform.start(lab.name)
    lab.booted()
    assert recover.recover(lab.store) == []  # nobody's any more: it runs until it is stopped
    assert lab.processes().leader is not None


def test_only_the_machine_that_has_stopped_is_removed_not_the_next_one_of_its_name(lab: Bench) -> None:
    machine = lab.boot()
    lab.platform.stop(lab.name)
    looks: list[str] = []

    def is_done(seen: Machine) -> bool:
        looks.append(seen.id)
        with pytest.raises(TimeoutError), lab.store.lock("machines", lab.name, timeout=0):
            pass  # else it could become another one between the look and the removal
        return False

    lab.platform.destroy_if(lab.name, is_done)
    reap(lab, "m00000000")  # what the shim of an earlier one runs
    assert looks == [machine.id]
    assert lab.platform.observe(lab.name) is not None
    reap(lab, machine.id)
    assert lab.platform.observe(lab.name) is None


def reap(lab: Bench, machine_id: str) -> None:
    words = [sys.executable, "-m", "stoneware.platforms.local.machines.reap", str(lab.home)]
    subprocess.run([*words, lab.name, machine_id], check=True)
