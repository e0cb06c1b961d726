"""Ctrl-C, kills and time limits while a provider that is a program makes something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.terraform.engine import _drain
from stoneware.terraform.patience import Interrupts, Patience, held_back, time_limit
from stoneware.terraform.runner import has_state, tainted_addresses
from tests import programs

from .conftest import Open

DRIVER = """
import pathlib, sys
from stoneware.terraform.runner import Terraform
say = lambda *words: print(*words, flush=True)
say("here")
binary = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
try:
    with Terraform(pathlib.Path(sys.argv[1]), binary=binary, tell=say) as terraform:
        terraform.apply(progress=lambda it: say(it.status) if it.status == "started" else None)
        say("applied")
except KeyboardInterrupt:
    say("interrupted")
"""
# Terraform ends a provisioner at an interrupt, as hashicorp/google gives up an instance.
SLOW = """
resource "terraform_data" "slow" {{
  provisioner "local-exec" {{ command = "until [ -e '{go}' ]; do sleep 0.05; done" }}
}}
"""


def _write(directory: Path) -> None:
    (directory / "main.tf").write_text(SLOW.format(go=directory / "go"))


def _go(directory: Path) -> None:
    """Let what is being made be done."""
    (directory / "go").touch()


def _until(directory: Path, seconds: float = 300) -> bool:
    end = time.monotonic() + seconds
    while not has_state(directory) and time.monotonic() < end:
        time.sleep(0.05)
    return has_state(directory) and not tainted_addresses(directory)


@pytest.fixture(params=["library", "binary"])
def driver(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[str]]:
    """Return a process that applies what takes until `_go`, in a group of its own as on a terminal."""
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    words = [str(programs.terraform_or_skip())] if request.param == "binary" else []
    _write(tmp_path)
    argv = [sys.executable, "-c", DRIVER, str(tmp_path), *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(2)]
    assert said == ["here", "started"]
    yield process
    _go(tmp_path)
    process.kill()
    process.communicate()


@pytest.mark.tool
def test_ctrl_c_waits_for_what_is_being_made(driver: subprocess.Popen[str], tmp_path: Path) -> None:
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.stdout is not None
    assert driver.stdout.readline().startswith("Terraform is at work on machines and is not interrupted")
    _go(tmp_path)
    assert driver.communicate(timeout=300)[0] == "interrupted\n"
    assert has_state(tmp_path)
    assert not tainted_addresses(tmp_path)


@pytest.mark.tool
def test_a_second_ctrl_c_leaves_terraform_to_end_by_itself(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.stdout is not None
    assert driver.stdout.readline().startswith("Terraform is at work")
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.stdout.readline() == "interrupted\n"
    driver.wait(300)
    assert not has_state(tmp_path)
    _go(tmp_path)
    assert _until(tmp_path)


@pytest.mark.tool
def test_what_a_killed_command_was_making_gets_into_the_state(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    driver.kill()
    driver.wait(300)
    assert not has_state(tmp_path)
    _go(tmp_path)
    assert _until(tmp_path)


@pytest.mark.tool
def test_each_command_has_a_time_limit(
    tmp_path: Path, open_terraform: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path)
    terraform = open_terraform()
    terraform.prepare()
    for seconds in (3, 12, 60):  # as long as a busy computer needs to begin with what is never done
        monkeypatch.setenv("STONEWARE_TERRAFORM_TIMEOUT", f"{seconds}s")
        with pytest.raises(MachineError, match=f"changes within {seconds} seconds") as caught:
            terraform.apply()
        if "not done" in caught.value.details:
            break
    assert caught.value.details.splitlines() == [
        f"in {tmp_path}",
        "not done: create of terraform_data.slow",
    ]
    assert "STONEWARE_TERRAFORM_TIMEOUT=" in caught.value.resolution
    monkeypatch.delenv("STONEWARE_TERRAFORM_TIMEOUT")
    _go(tmp_path)
    terraform.apply()  # the next command is not disturbed
    assert not tainted_addresses(tmp_path)


class Struck(subprocess.Popen[bytes]):
    """A process at whose start, before anybody could take note of it, Ctrl-C is pressed."""

    started: ClassVar[list[int]] = []

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.started.append(self.pid)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.tool
def test_ctrl_c_at_the_start_of_terraform_loses_no_process(
    tmp_path: Path, open_terraform: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that was lost would find our provider's socket gone, and kills the process that has served it.
    _write(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr("stoneware.terraform.engine.subprocess.Popen", Struck)
        Struck.started.clear()
        with pytest.raises(KeyboardInterrupt), open_terraform() as terraform:
            terraform.plan()
    assert len(Struck.started) == 1
    # It has no command, so it ends by itself.
    deadline = time.monotonic() + 300
    while Path(f"/proc/{Struck.started[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not Path(f"/proc/{Struck.started[0]}").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.tool
def test_a_third_ctrl_c_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = 'trap "" INT; echo here; while :; do sleep 0.05; done'
    with subprocess.Popen(["sh", "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        asked = process.communicate

        def struck(*words: Any, **options: Any) -> tuple[bytes, bytes]:
            if options.get("timeout"):
                raise KeyboardInterrupt
            return asked(*words, **options)

        monkeypatch.setattr(process, "communicate", struck)
        _drain(process)
        assert process.returncode == -signal.SIGKILL


@pytest.mark.pure
def test_a_time_limit_grows_with_what_there_is_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STONEWARE_TERRAFORM_TIMEOUT", raising=False)
    assert (time_limit(0), time_limit(1000)) == (3600, 63600)
    monkeypatch.setenv("STONEWARE_TERRAFORM_TIMEOUT", "90m")
    assert time_limit(1000) == 5400
    monkeypatch.setenv("STONEWARE_TERRAFORM_TIMEOUT", "soon")
    with pytest.raises(InputError, match="STONEWARE_TERRAFORM_TIMEOUT"):
        time_limit(1)


@pytest.mark.pure
def test_the_first_interrupt_of_a_rollout_is_the_rollouts_own() -> None:
    taken: list[int] = []

    def rollouts(_number: int, _frame: object) -> None:
        taken.append(1)
        if len(taken) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, rollouts)
    told: list[str] = []
    found: Interrupts | None = None
    try:
        with pytest.raises(KeyboardInterrupt), held_back(Patience(held=True, tell=told.append)) as found:  # noqa: PT012
            signal.raise_signal(signal.SIGINT)
            assert not told
            signal.raise_signal(signal.SIGINT)
            assert len(told) == 1
        assert not found.left
        assert signal.getsignal(signal.SIGINT) is rollouts
        with pytest.raises(KeyboardInterrupt), held_back(Patience(held=False)):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
