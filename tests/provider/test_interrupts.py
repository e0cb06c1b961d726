"""Ctrl-C and kills in the middle of an apply: whatever was made can be destroyed afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from stoneware.provider.infrastructure import BUILDER_MODULE
from stoneware.provider.server import ProviderServer
from stoneware.terraform.configuration import write_configuration
from stoneware.terraform.results import Applied
from stoneware.terraform.runner import Terraform, has_state
from tests.platforms.memory import MemoryPlatform

pytestmark = pytest.mark.tool

ADDRESS = "stoneware_machine.builder"


class Driver:
    """The command under test, in a process group of its own as on a terminal."""

    def __init__(self, root: Path, fault: str, binary: Path | None) -> None:
        self.directory = root / "terraform"
        self.journal = root / "journal"
        write_configuration(self.directory, BUILDER_MODULE, {"name": "b1", "boot_source": "checkpoint:abc"})
        command = [sys.executable, "-m", "tests.provider.driver", self.directory, self.journal, fault]
        self.process = subprocess.Popen(
            [*map(str, command), *([str(binary)] if binary else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.worker = int(self.expect("worker").split()[1])

    def expect(self, word: str) -> str:
        stdout: IO[str] | None = self.process.stdout
        assert stdout is not None
        for line in stdout:
            if line.startswith(word):
                return line
        raise AssertionError(f"ended without saying {word!r}: {self.process.communicate()[1]}")

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, timeout: float = 300) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, errors

    def platform(self) -> MemoryPlatform:
        return MemoryPlatform(self.journal)

    def destroy(self, platform: MemoryPlatform) -> Applied:
        """Do what the next command does with a directory that was left over."""
        adopt = {ADDRESS: "b1"} if platform.observe("b1") else {}
        with Terraform(self.directory, provider=ProviderServer(platform), lock_timeout=5) as terraform:
            return terraform.destroy(adopt=adopt)


Drive = Callable[[str], Driver]


@pytest.fixture(params=["library", "binary"])
def drive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    binary = request.getfixturevalue("binary") if request.param == "binary" else None
    started: list[Driver] = []

    def start(fault: str) -> Driver:
        started.append(Driver(tmp_path, fault, binary))
        return started[-1]

    yield start
    for driver in started:
        driver.process.kill()
        driver.process.communicate()


def until_gone(pid: int, seconds: float = 300) -> bool:
    deadline = time.monotonic() + seconds
    while pid and time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return not pid


def test_ctrl_c_lets_terraform_write_its_state(drive: Drive) -> None:
    driver = drive("waits")
    driver.expect("creating")
    driver.interrupt()
    assert driver.end() == (130, "")
    assert until_gone(driver.worker)
    assert has_state(driver.directory)
    platform = driver.platform()
    assert driver.destroy(platform).removed == 1
    assert platform.machines() == []
    assert not has_state(driver.directory)


def test_a_second_ctrl_c_ends_at_once(drive: Drive) -> None:
    driver = drive("hangs")
    driver.expect("creating")
    driver.interrupt()
    with pytest.raises(subprocess.TimeoutExpired):
        driver.process.wait(0.7)  # it waits for the machine that is being made
    driver.interrupt()
    code, errors = driver.end()
    assert (code, errors) == (130, "")
    assert until_gone(driver.worker)
    assert driver.destroy(driver.platform()).removed == 0


@pytest.mark.parametrize("delay", [0.0, 0.04, 0.08, 0.2])
def test_ctrl_c_at_any_time_leaves_no_machine_that_the_state_does_not_know(
    drive: Drive, delay: float
) -> None:
    driver = drive("applied")
    time.sleep(delay)  # the moment of the fault, not a wait for a state
    driver.interrupt()
    code, errors = driver.end()
    # CPython ends itself by the signal where that came within `exec`, as of a dataclass that is being made,
    # though the program has dealt with it: a shell says 130 of both.
    assert (code in (130, -signal.SIGINT), errors) == (True, ""), code
    assert until_gone(driver.worker)
    platform = driver.platform()
    # A state may still name a machine that is gone: a refresh finds that. The other way round it is lost.
    assert has_state(driver.directory) or platform.machines() == []
    driver.destroy(platform)
    assert platform.machines() == []
    assert not has_state(driver.directory)


@pytest.mark.parametrize(
    ("fault", "word", "exists", "known"),
    [("hangs", "creating", 0, False), ("made", "created", 1, False), ("applied", "applied", 1, True)],
)
def test_a_killed_command_leaves_nothing_that_cannot_be_destroyed(
    drive: Drive, fault: str, word: str, exists: int, known: bool
) -> None:
    driver = drive(fault)
    driver.expect(word)
    driver.process.kill()
    driver.end()
    assert until_gone(driver.worker)
    assert has_state(driver.directory) is known
    platform = driver.platform()
    assert len(platform.machines()) == exists
    assert driver.destroy(platform).removed == exists
    assert platform.machines() == []
