"""The command line of QEMU, and what runs a machine's instructions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DISKS, VolumeMount
from stoneware.platforms.local.machines.qemu import accelerator, jail, launcher
from stoneware.platforms.local.machines.qemu.accelerator import Accelerator, choose
from stoneware.platforms.local.machines.qemu.hardware import (
    PROGRAM,
    SLOTS,
    Hardware,
    command_line,
    disk_name,
    launch_settings,
    scsi_disk,
    socket_names,
    stream,
    user_id,
    volume_device,
    volume_node,
)
from stoneware.platforms.local.machines.qemu.runner import Qemu
from stoneware.platforms.local.machines.runners import runner_for, runners
from stoneware.platforms.local.machines.start import volume_lines
from stoneware.platforms.local.store.store import Store
from stoneware.process import which

GIB = 1 << 30


def hardware(**changes: Any) -> Hardware:
    values: dict[str, Any] = {
        "machine_id": "m12345678",
        "uuid": "00000000-0000-4000-8000-000000000001",
        "memory": GIB,
        "cpus": 1.5,
        "accelerator": "tcg",
        "mac": "52:54:00:00:00:01",
        "mtu": 1400,
        "tap": 9,
        "sockets": {name: 10 + number for number, name in enumerate(socket_names())},
    }
    return Hardware(**{**values, **changes})


def words_after(argv: list[str], flag: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == flag]


def test_the_machine_has_what_it_is_to_have_and_nothing_by_default() -> None:
    argv = command_line(hardware())
    assert "-nodefaults" in argv
    assert "-no-user-config" in argv
    assert words_after(argv, "-smp") == ["2"]
    assert words_after(argv, "-m") == ["1024M"]
    assert words_after(argv, "-accel")[0].startswith("tcg")
    devices = [text.partition(",")[0] for text in words_after(argv, "-device")]
    assert devices.count("virtserialport") == 1 + 3 * SLOTS
    assert {*devices} == {
        *("virtio-blk-pci", "virtio-net-pci", "virtio-rng-pci", "virtio-serial-pci", "virtserialport"),
        "pvpanic-pci",
    }


def test_qemu_may_do_nothing_besides() -> None:
    (sandbox,) = words_after(command_line(hardware()), "-sandbox")
    kept = {"obsolete", "elevateprivileges", "spawn", "resourcecontrol"}
    assert set(sandbox.split(",")) == {"on", *(f"{name}=deny" for name in kept)}


def test_the_card_is_the_ports() -> None:
    argv = command_line(hardware())
    assert words_after(argv, "-netdev") == ["tap,id=port,fd=9"]
    assert "virtio-net-pci,netdev=port,mac=52:54:00:00:00:01,host_mtu=1400,romfile=" in argv
    assert words_after(command_line(hardware(mac="")), "-netdev") == []


def test_each_socket_has_a_port_of_its_own() -> None:
    argv = command_line(hardware())
    numbers = [text for text in words_after(argv, "-device") if text.startswith("virtserialport")]
    found = {text.partition(",nr=")[2].partition(",")[0] for text in numbers}
    assert len(found) == len(numbers) == len(socket_names()) - 1
    assert all(f"fd={fd}," in " ".join(argv) for fd in hardware().sockets.values())
    assert f"name={stream(0, 'in')}" in " ".join(argv)


def test_kvm_has_the_computers_own_processor() -> None:
    argv = command_line(hardware(accelerator="kvm"))
    assert words_after(argv, "-accel") == ["kvm"]
    assert words_after(argv, "-cpu") == ["host"]


def test_volumes_are_disks_of_their_names_as_on_compute_engine() -> None:
    argv = command_line(hardware(volumes=(("data-1", 40), ("a,b", 41))))
    disks = [text for text in words_after(argv, "-device") if text.startswith("scsi-hd,")]
    names = [text.partition("device_id=")[2] for text in disks]
    assert names == ["data-1", "a,,b"]  # QEMU reads a comma as an end
    nodes = [volume_node(name) for name in ("data-1", "a,b")]
    assert all(re.fullmatch("[a-z][a-z0-9-]{1,24}", node) for node in nodes)  # 31 with `-file`, and no comma
    assert all("vendor=Google,product=PersistentDisk" in text for text in disks)
    sets = [f"fd={40 + number},set={number},opaque={node}" for number, node in enumerate(nodes)]
    assert words_after(argv, "-add-fd") == sets
    drives = [text for text in words_after(argv, "-blockdev") if nodes[1] in text]
    assert len(drives) == 2
    assert "filename=/dev/fdset/1" in drives[0]
    assert all(f"drive={nodes[number]}," in disks[number] for number in range(2))
    assert all(
        f"id={volume_device(name)}," in text for name, text in zip(("data-1", "a,b"), disks, strict=True)
    )
    assert "scsi" not in " ".join(command_line(hardware()))


def test_disks_can_come_later_where_that_is_said() -> None:
    devices = words_after(command_line(hardware(later=True)), "-device")
    assert [text for text in devices if "scsi" in text] == ["virtio-scsi-pci,id=volumes"]
    assert scsi_disk("data")["bus"] == "volumes.0"
    # The same name is the same disk, wherever it stands among the others.
    argv = command_line(hardware(volumes=(("b", 40), ("data", 41))))
    assert any(f"id={volume_device('data')}," in text for text in words_after(argv, "-device"))


@pytest.mark.tool
@pytest.mark.parametrize(("fixed", "said"), [(False, "(raw)"), (True, "(raw, read-only)")])
def test_a_disk_that_is_attached_for_reading_is_one_for_qemu(tmp_path: Path, fixed: bool, said: str) -> None:
    """Else a machine could mount it for writing, whatever its instance says."""
    if which(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM}")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    told = settings(("data", disk), mac="", fixed=frozenset({"data"} if fixed else ()))
    ((number, path),) = told["fixed" if fixed else "volume"].items()
    argv = list(told["word"].values())
    words = [PROGRAM, "-S", "-nodefaults", "-display", "none", "-machine", "q35", "-monitor", "stdio"]
    for flag in ("-add-fd", "-blockdev", "-device"):
        for text in words_after(argv, flag):
            words += [flag, text] if flag == "-add-fd" or "volume" in text else []
    opened = os.open(path, os.O_RDONLY if fixed else os.O_RDWR)
    try:
        os.dup2(opened, number, inheritable=True)
        done = subprocess.run(
            words,
            input="info block\nquit\n",
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(number,),
        )
    finally:
        os.close(opened)
        os.close(number)
    assert done.returncode == 0, done.stderr
    assert f"{volume_node('data')}: /dev/fdset/0 {said}" in done.stdout


@pytest.mark.parametrize(
    ("vm", "path", "device"),
    [
        (True, "/srv", "/dev/disk/by-id/google-data"),
        (False, "/srv", "/run/stoneware/volumes/0"),
    ],
)
def test_the_machine_is_told_where_its_volume_is(vm: bool, path: str, device: str) -> None:
    spec = MachineSpec("v1", "image:x", vm=vm, volumes=(VolumeMount("data", path),))
    assert volume_lines(spec) == f"{device}\t{path}\trw\n"


def test_a_disk_that_the_machine_sees_itself_has_the_name_of_its_place() -> None:
    mount = VolumeMount("an-emulators-own-name", f"{DISKS}data")
    spec = MachineSpec("v1", "image:x", vm=True, volumes=(mount,))
    assert volume_lines(spec) == ""
    assert disk_name(mount) == "data"


def test_each_machine_has_a_user_of_its_own_that_is_nobody() -> None:
    found = {user_id(f"m{number:08x}") for number in range(100)}
    assert len(found) == 100
    assert all(0x70000000 <= user < 0x80000000 for user in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "builder"}, "builder"),
        ({"pids_limit": 5}, "--pids-limit"),
        ({"memory": 1 << 20}, "does not boot"),
        ({"memory": 1 << 60}, "bytes of memory: this computer has"),
    ],
)
def test_what_a_virtual_machine_cannot_have_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Qemu().check(MachineSpec("v1", "image:x", vm=True, **options))
    assert words in str(caught.value.brief)


def test_the_spec_says_what_runs_a_machine() -> None:
    assert isinstance(runner_for(MachineSpec("v1", "image:x", vm=True)), Qemu)
    assert not isinstance(runner_for(MachineSpec("v1", "image:x")), Qemu)
    assert len({runner.script for runner in runners()}) == len(runners())


def test_a_process_is_known_by_the_machines_id() -> None:
    argv = command_line(hardware())
    assert Qemu().recognises(argv, "m12345678")
    assert not Qemu().recognises(argv, "m1234567")


# -- the accelerator ---------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ("data/machines", "locks"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.delenv("STONEWARE_VM_ACCELERATOR", raising=False)
    monkeypatch.setattr(accelerator, "_DEVICE", tmp_path)
    monkeypatch.setattr(
        "stoneware.platforms.local.machines.qemu.accelerator.furnish", lambda place, _: place.mkdir()
    )
    return Store(tmp_path)


def boots(monkeypatch: pytest.MonkeyPatch, said: bytes, code: int | None) -> list[str]:
    seen: list[str] = []

    def boot(settings: str, run: Path) -> tuple[bytes, int | None]:
        seen.append(settings)
        assert run.is_dir()
        return said, code

    monkeypatch.setattr(accelerator, "_boot", boot)
    return seen


def test_kvm_is_what_has_booted_a_kernel_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = boots(monkeypatch, b"[ 1.0] Run /init as init process\n", None)
    assert choose(store, Path("disk")) == choose(store, Path("disk")) == Accelerator("kvm")
    assert len(seen) == 1
    assert "\ntap " not in seen[0]  # it has no network


@pytest.mark.parametrize(("code", "words"), [(None, "in 25 seconds"), (134, "Assertion failed")])
def test_without_kvm_the_reason_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int | None, words: str
) -> None:
    boots(monkeypatch, b"BdsDxe\nAssertion failed", code)
    found = choose(store, Path("disk"))
    assert found.name == "tcg"
    assert words in found.why


def test_another_boot_of_this_computer_is_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = boots(monkeypatch, b"Welcome to Debian", None)
    choose(store, Path("disk"))
    monkeypatch.setattr(accelerator, "boot_id", lambda: "another")
    choose(store, Path("disk"))
    assert len(seen) == 2


def test_without_the_device_nothing_is_tried(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = boots(monkeypatch, b"", None)
    monkeypatch.setattr(accelerator, "_DEVICE", Path("/nonexistent"))
    assert choose(store, Path("disk")).name == "tcg"
    monkeypatch.setenv("STONEWARE_VM_ACCELERATOR", "kvm")
    assert choose(store, Path("disk")) == Accelerator("kvm")
    assert seen == []
    assert list((store.data / "machines").iterdir()) == []


def settings(*volumes: tuple[str, Path], **changes: Any) -> dict[str, dict[int, str]]:
    """Return what the launcher is told, by kind and number."""
    fields = ("machine_id", "uuid", "memory", "cpus", "mtu", "mac", "accelerator")
    values = {field: getattr(hardware(), field) for field in fields}
    text = launch_settings(Path("/run/m"), Path("/disks of m"), {**values, **changes}, volumes)
    found: dict[str, dict[int, str]] = {}
    for line in text.splitlines():
        kind, number, rest = line.split(" ", 2)
        found.setdefault(kind, {})[int(number)] = rest
    return found


def test_the_launcher_opens_what_the_command_line_names_by_number() -> None:
    told = settings(("data", Path("/volumes/data/disk.raw")), ("logs", Path("/volumes/logs/disk.raw")))
    argv = list(told["word"].values())
    (tap,) = told["tap"]
    assert told["tap"][tap] == "vb-m12345678"
    assert f"tap,id=port,fd={tap}" in argv
    for number, name in told["socket"].items():
        assert f"socket,id={name},fd={number},server=on,wait=off" in argv
    assert list(told["volume"].values()) == ["/volumes/data/disk.raw", "/volumes/logs/disk.raw"]
    nodes = [volume_node(name) for name in ("data", "logs")]
    assert words_after(argv, "-add-fd") == [
        f"fd={number},set={at},opaque={nodes[at]}" for at, number in enumerate(told["volume"])
    ]
    numbers = [*told["tap"], *told["socket"], *told["volume"]]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 100
    assert (told["run"], told["disks"]) == ({0: "/run/m"}, {user_id("m12345678"): "/disks of m"})
    assert "kvm" not in told


def test_the_launcher_opens_for_reading_what_is_not_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").touch()
    values = {name: getattr(hardware(), name) for name in ("machine_id", "uuid", "memory", "cpus", "mtu")}
    values |= {"mac": "", "accelerator": "tcg", "fixed": frozenset({"data"})}
    disks = (("data", tmp_path / "disk"), ("logs", tmp_path / "disk"))
    (tmp_path / "settings").write_text(launch_settings(tmp_path, tmp_path, values, disks))
    modes: list[int] = []

    def enter(_disks: str, _user: int, argv: list[str], *, kvm: bool) -> None:
        assert not kvm
        for word in words_after(argv, "-add-fd"):
            number = int(word.partition("=")[2].partition(",")[0])
            modes.append(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE)
            os.close(number)

    monkeypatch.setattr(launcher, "_listen", lambda *_: None)
    monkeypatch.setattr(launcher, "_give", lambda *_: None)
    monkeypatch.setattr(jail, "enter", enter)
    monkeypatch.setattr("sys.argv", ["launcher", str(tmp_path / "settings")])
    launcher.main()
    assert modes == [os.O_RDONLY, os.O_RDWR]


def test_a_machine_without_a_card_has_no_tap_and_one_of_kvm_has_its_device() -> None:
    told = settings(mac="", accelerator="kvm")
    assert "tap" not in told
    assert told["kvm"] == {0: "on"}


def test_what_the_launcher_is_told_is_a_line_each() -> None:
    with pytest.raises(ValueError, match="more than one line"):
        settings(("data", Path("/volumes/da\nta")))


def test_the_launcher_loads_no_package() -> None:
    """Its start is a part of every start of a machine."""
    code = f"{launcher.command('x')[-2].rpartition(';')[0]}; print(*sorted(sys.modules))"
    done = subprocess.run([*jail.PYTHON, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "stoneware.platforms.local.machines.qemu.jail" in loaded
    slow = {"json", "pathlib", "typing", "re", "subprocess", "socket", "enum", "stoneware.dataclass", "site"}
    assert not loaded & slow


@pytest.mark.parametrize(("said", "fails"), [("made\n", False), ("failed\n", True), ("", True), (None, True)])
def test_the_launcher_waits_for_the_word_that_the_port_is_made(
    said: str | None, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_PORT", 0.05)
    if said is not None:
        (tmp_path / "port").write_text(said)
    with pytest.raises(SystemExit, match="port could not be made") if fails else contextlib.nullcontext():
        launcher._await_port(str(tmp_path / "port"))
