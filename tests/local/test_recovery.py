"""What is done about machines whose command was killed, or this computer rebooted; without any that boots."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import HostError, MachineError
from stoneware.files import locked
from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines import kill, stop, vanished
from stoneware.platforms.local.machines.record import Paths, Processes, shown_processes
from stoneware.platforms.local.network import known
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import recover as recovery
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.local.store.store import Store
from stoneware.process_identity import command_line
from tests.local.plain_store import plain_store, put_machine, runs_as

pytestmark = pytest.mark.pure

SPEC = MachineSpec("m1", f"image:sha256:{'0' * 64}")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return plain_store(tmp_path / "home", monkeypatch)


def abandon(paths: Paths) -> None:
    """Have a machine be tied to a process that is gone."""
    paths.owner.write_text("")


# -- what is found -------------------------------------------------------------------------------------------


def test_a_machine_that_has_stopped_is_left_alone(store: Store) -> None:
    put_machine(store, SPEC)
    assert recover(store) == []
    assert (store.data / "machines/m1").is_dir()


def test_a_machine_that_was_not_started_is_removed(store: Store) -> None:
    paths = put_machine(store, SPEC, started=None)
    assert recover(store) == ["removed the machine m1, which an interrupted command had not started"]
    assert not paths.root.exists()


def test_one_that_a_living_command_has_is_left_to_it(store: Store) -> None:
    paths = put_machine(store, SPEC, started=None)
    with store.lock("machines", "m1"):
        assert recover(store) == []
    assert paths.root.is_dir()


def test_a_machine_that_goes_when_it_stops_is_removed_once_it_has(
    store: Store, process: subprocess.Popen[bytes]
) -> None:
    paths = put_machine(store, replace(SPEC, remove_when_stopped=True))
    runs_as(paths, process.pid)
    assert recover(store) == []
    process.kill()
    process.wait()
    assert recover(store) == ["removed the machine m1, which has stopped (--rm)"]


def test_a_machine_of_a_killed_command_goes_with_it(store: Store, process: subprocess.Popen[bytes]) -> None:
    paths = put_machine(store, replace(SPEC, tied="remove"))
    runs_as(paths, process.pid)
    assert recover(store) == []  # nothing says whom it is tied to
    abandon(paths)
    with locked(paths.owner, timeout=0):
        assert recover(store) == []  # its owner lives
    assert recover(store) == ["removed the machine m1, whose command was killed"]
    assert process.wait(60) == -9


def test_a_machine_that_a_killed_command_ran_is_stopped_and_kept(
    store: Store, process: subprocess.Popen[bytes]
) -> None:
    paths = put_machine(store, replace(SPEC, tied="stop", stop_timeout=0))
    runs_as(paths, process.pid)
    abandon(paths)
    assert recover(store) == ["stopped the machine m1, whose command was killed"]
    assert process.wait(60) == -9
    assert (paths.run / "stop").exists()
    assert recover(store) == []  # it has stopped, and is no less tied


def test_a_builder_goes_with_its_bake_and_not_before(store: Store) -> None:
    builder = replace(SPEC, name="bake-1-main", kind="builder")
    put_machine(store, builder)
    (store.data / "builds/bake-1").mkdir()
    assert recover(store) == []  # the next bake destroys it by Terraform
    (store.data / "builds/bake-1").rmdir()
    lock = store.build_lock_path("bake-1")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock, timeout=0):
        assert recover(store) == []
    assert recover(store) == ["removed the machine bake-1-main, whose bake was interrupted"]


@pytest.mark.parametrize(
    ("restart", "files", "again"),
    [
        ("no", [], False),
        ("always", [], True),
        ("always", ["stop", "exit"], True),
        ("unless-stopped", [], True),
        ("unless-stopped", ["exit"], True),
        ("unless-stopped", ["stop"], False),
        ("on-failure", [], True),
        ("on-failure:3", [], True),
        ("on-failure", ["exit"], False),
        ("on-failure", ["exit", "down"], True),
        ("on-failure", ["down", "stop"], False),
    ],
)
def test_which_machines_start_again_after_a_reboot(
    store: Store, restart: str, files: list[str], again: bool
) -> None:
    paths = put_machine(store, replace(SPEC, restart=restart), boot="before")
    for name in files:
        (paths.run / name).write_text("0\n")
    reason = recovery._left_over(store, paths)
    assert reason == ("rebooted" if again else "")


def test_one_that_does_not_start_after_a_reboot_is_told_of_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_platform: LocalPlatform, _paths: Paths) -> None:
        raise MachineError("no more ports")

    monkeypatch.setattr(LocalPlatform, "start_locked", fail)
    paths = put_machine(store, replace(SPEC, restart="always"), boot="before")
    assert recover(store) == ["cannot start the machine m1 again after the reboot: no more ports"]
    assert (paths.run / "error").read_text() == "it did not start after a reboot: no more ports\n"
    assert recover(store) == []


def test_one_that_starts_after_a_reboot_is_told_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(LocalPlatform, "start_locked", lambda _, paths: started.append(paths.name))
    put_machine(store, replace(SPEC, restart="always"), boot="before")
    assert recover(store) == ["started the machine m1 again after the reboot of this computer"]
    assert started == ["m1"]


def test_one_that_is_still_on_the_network_is_taken_off_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[tuple[str, str]] = []

    class Router:
        def release(self, id: str, name: str) -> None:
            released.append((id, name))

    monkeypatch.setattr(LocalPlatform, "_router", lambda *_, **__: Router())
    paths = put_machine(store, SPEC, attached=True)
    assert recover(store) == []
    assert released == [("m-m1", "m1")]
    assert json.loads((paths.root / "state.json").read_text())["attached"] is False
    assert recover(store) == []
    assert len(released) == 1


def test_what_goes_wrong_with_one_machine_is_told_and_holds_up_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_platform: LocalPlatform, paths: Paths) -> None:
        if paths.name == "m1":
            raise HostError("the disk is broken", details="I/O error", resolution="dmesg")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalPlatform, "remove_locked", fail)
    put_machine(store, SPEC, started=None)
    put_machine(store, replace(SPEC, name="m2"), started=None)
    told = recover(store)
    assert told[0] == "the machine m1 could not be checked: the disk is broken (I/O error); dmesg"
    assert told[1].startswith("the machine m2 could not be checked: ")
    assert len(told) == 2


def test_a_staged_entry_that_cannot_be_removed_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_store: Store, _path: Path) -> None:
        raise HostError("it is in use", resolution="try again")

    (store.data / "volumes/.staged-0123456789abcdef").mkdir()
    monkeypatch.setattr(Store, "remove_remains", fail)
    told = "what an interrupted command has left cannot be removed: it is in use; try again"
    assert recover(store) == [told]


# -- ending --------------------------------------------------------------------------------------------------


def test_a_machine_is_ended_by_its_first_process(store: Store, process: subprocess.Popen[bytes]) -> None:
    paths = put_machine(store, SPEC)
    runs_as(paths, process.pid)
    assert not kill.has_ended(paths)
    kill.end(paths)
    assert process.wait(60) == -9
    assert (paths.run / "stop").exists()  # its restart policy is not to start it again
    assert kill.has_ended(paths)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_machine_that_stands_still_has_ended_before_its_processes_have(
    store: Store, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    paths, groups = put_machine(store, SPEC), []
    runs_as(paths, process.pid)
    runs_as(paths, os.getpid(), "shim")
    (paths.run / "cgroup").write_text("/sys/fs/cgroup/stoneware/m0\n")

    def freezes(group: Path) -> bool:
        groups.append(group)
        return frozen

    monkeypatch.setattr(cgroups, "freeze", freezes)
    if frozen:
        monkeypatch.setattr(kill, "_send", lambda *_: None)  # as if it took its time
    kill.end(paths)
    assert groups == [Path(f"/proc/{os.getpid()}/root/sys/fs/cgroup/stoneware/m0/machine/payload")]
    assert kill.has_ended(paths)
    assert (process.poll() is None) == frozen
    (paths.run / "stop").unlink()  # it is started again
    assert kill.has_ended(paths) is False


@pytest.mark.parametrize("events", ["populated 1\nfrozen 1\n", "populated 1\nfrozen 0\n", None])
def test_a_group_is_frozen_once_the_kernel_says_so(tmp_path: Path, events: str | None) -> None:
    if events is not None:  # else the group has gone
        (tmp_path / "cgroup.events").write_text(events)
    group = tmp_path if events is not None else tmp_path / "gone"
    assert cgroups.freeze(group) == (events is not None and "frozen 1" in events)
    if events is not None:
        assert (tmp_path / "cgroup.freeze").read_text() == "1"


def test_on_a_full_disk_a_machine_is_ended_with_its_shim(
    store: Store, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Paths] = []

    def shown(paths: Paths) -> Processes:
        looks.append(paths)
        return shown_processes(paths)

    monkeypatch.setattr(kill, "shown_processes", shown)
    monkeypatch.setattr(kill, "_note", lambda *_: None)  # nothing can be noted
    monkeypatch.setattr(kill, "_PATIENCE", 0.02)
    paths = put_machine(store, SPEC)
    runs_as(paths, process.pid)
    with subprocess.Popen(["sleep", "1000"]) as shim:
        runs_as(paths, shim.pid, "shim")
        kill.end(paths)
        assert shim.wait(60) == -9
    assert process.wait(60) == -9
    assert len(looks) < 1000  # it looks once more when a process has ended, or after a pause


def test_a_shim_without_a_machine_gets_time_and_is_killed_then(
    store: Store, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill, "_PATIENCE", 0.02)
    paths = put_machine(store, SPEC)
    runs_as(paths, process.pid, "shim")
    kill.kill(paths)
    assert process.wait(60) == -9


def test_a_runner_without_a_shim_is_killed_at_once(
    store: Store, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill, "_PATIENCE", 1000)
    paths = put_machine(store, SPEC)
    runs_as(paths, process.pid, "nspawn")
    kill.end(paths)
    assert process.wait(60) == -9


def test_a_machine_that_stays_is_told_with_its_processes(
    store: Store, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill, "_KILL_TIMEOUT", 0.02)
    monkeypatch.setattr(kill, "_send", lambda *_: None)
    paths = put_machine(store, SPEC)
    runs_as(paths, process.pid)
    with pytest.raises(MachineError) as told:
        kill.kill(paths)
    assert told.value.details == f"Its processes {process.pid}, None and None stay."


def test_the_number_of_another_process_is_not_killed(store: Store) -> None:
    paths = put_machine(store, SPEC)
    (paths.run / "leader").write_text(f"{os.getpid()} 1\n")  # it started at another time
    kill.kill(paths)
    kill.end(paths)
    stop.power_off(paths, 5)
    assert not (paths.run / "stop").exists()


def test_processes_of_the_boot_before_are_not_killed(store: Store) -> None:
    paths = put_machine(store, SPEC, boot="before")
    runs_as(paths, os.getpid())
    kill.kill(paths)
    assert kill.has_ended(paths)


# -- machines without a directory ----------------------------------------------------------------------------


def test_without_a_router_nothing_is_looked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanished, "pids", lambda: pytest.fail("processes were looked at"))
    assert vanished.end_vanished(store) == []


class Runner:
    """Knows its machines by the last word of what they run."""

    def recognises(self, words: list[str], machine_id: str) -> bool:
        return words[-1:] == [machine_id]


@pytest.fixture
def shim(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A shim of a machine without a directory, with a runner that has a process of its own."""
    (tmp_path / "shim.sh").write_text(f"sh {tmp_path}/runner m-gone & echo; wait\n")
    (tmp_path / "runner").write_text("sleep 1000\n")
    monkeypatch.setattr(known, "attached_ids", lambda _: {"m-m1", "m-gone"})
    monkeypatch.setattr(vanished, "runners", lambda: [Runner()])
    words = ["sh", f"{tmp_path}/shim.sh", f"{store.data}/machines/gone/run/settings"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as made:
        assert made.stdout is not None
        made.stdout.readline()
        # Until then the runner is still a copy of the shim.
        while not vanished._processes("m-gone")[1][1:]:
            pass
        yield made
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGKILL)


def released_from(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Have a router that takes machines off the network in name only; return which."""
    released: list[tuple[str, str]] = []

    class Router:
        def release(self, id: str, name: str) -> None:
            released.append((id, name))

    monkeypatch.setattr("stoneware.platforms.local.network.router.ensure", lambda _: Router())
    return released


def test_a_machine_whose_directory_is_gone_is_ended_and_its_address_given_back(
    store: Store, shim: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = released_from(monkeypatch)
    put_machine(store, SPEC)
    _, running = vanished._processes("m-gone")
    assert vanished.end_vanished(store) == ["ended the machine gone, whose directory has been removed"]
    assert shim.wait(60) == -9
    assert len(running) == 2
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and command_line(pid) for pid in running)
    assert released == [("m-gone", "gone")]


def test_nothing_is_told_of_a_machine_that_another_command_removes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "attached_ids", lambda _: {"m-gone"})
    monkeypatch.setattr(vanished, "runners", lambda: [Runner()])
    released = released_from(monkeypatch)
    # Its processes have ended and its directory is gone, but it is not yet off the network.
    assert vanished.end_vanished(store) == []
    assert released == [("m-gone", "")]


def test_one_that_may_be_a_machine_with_damaged_records_is_left_alone(
    store: Store, shim: subprocess.Popen[bytes]
) -> None:
    put_machine(store, replace(SPEC, name="gone"))
    (store.data / "machines/gone/state.json").write_text("{")
    assert vanished.end_vanished(store) == []
    assert shim.poll() is None
    told = recover(store)
    assert told == []


def test_a_process_that_cannot_be_killed_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanished, "_PATIENCE", 0.01)
    monkeypatch.setattr(os, "kill", lambda *_: None)  # as where it waits for a dead disk
    with pytest.raises(MachineError) as told:
        vanished._kill("m-gone", [os.getpid()])
    assert told.value.details == f"It has the processes {os.getpid()}."
