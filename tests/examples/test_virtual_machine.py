"""The hello example as a virtual machine: the same image, with a kernel of its own, from run to rm."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stoneware.platforms.local.host.probes import tun, virtual_firmware
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.process import which

from .conftest import Program
from .test_hello import HELLO, get

# The boot alone has 900 seconds, and the machine is started again.
pytestmark = [pytest.mark.machine, pytest.mark.timeout(2400)]

NAME = "hello-vm"
DISK = "hello-vm-data"
METADATA = "curl -s -m 5 -H Metadata-Flavor:Google http://169.254.169.254/computeMetadata/v1/instance/name"
TOOLS = ("qemu-system-x86_64", "mcopy", "mkfs.vfat", "sfdisk")


@pytest.fixture
def vm(program: Program) -> dict[str, Any]:
    """Give a virtual machine that is healthy."""
    missing = [name for name in TOOLS if which(name) is None]
    if missing or tun() or virtual_firmware():
        pytest.skip(f"virtual machines need {missing or tun() or virtual_firmware()}")
    program.bake("hello", HELLO)
    program.volumes.append(DISK)
    program.run("volume", "create", "--size", "1g", DISK)
    words = ("--vm", "--timeout", "900", "--memory", "512m", "-p", "127.0.0.1::80", "-v", f"{DISK}:/srv/data")
    return program.boot(NAME, *words, "-e", "GREETING=from a kernel of my own", "hello")


def inside(program: Program, script: str, *, check: bool = True) -> str:
    return program.run("exec", NAME, "sh", "-c", script, check=check).stdout


def leader(program: Program) -> int:
    pid = shown_processes(Paths(program.home / "data/machines" / NAME)).leader
    assert pid is not None
    return pid


def test_a_virtual_machine_from_run_to_rm(program: Program, vm: dict[str, Any], tmp_path: Path) -> None:
    page, _ = get(f"127.0.0.1:{vm['ports'][0]['host_port']}")
    assert "from a kernel of my own" in page
    assert f"address {vm['ip']}" in page
    assert "BdsDxe: starting" in program.run("logs", NAME).stdout  # the firmware

    _commands(program, tmp_path)
    _the_volume_is_a_disk(program)
    _qemu_has_nothing(leader(program))
    _addresses_are_pinned(program)

    program.run("stop", "-t", "60", NAME)
    stopped = program.machine(NAME)
    assert (stopped["phase"], stopped["exit_code"]) == ("stopped", 0)

    program.run("start", NAME)
    os.kill(leader(program), signal.SIGKILL)
    with pytest.raises(AssertionError, match=r"is (stopped|not running)"):
        program.run("exec", NAME, "true")
    assert _exit_code(program) == 137
    program.run("rm", NAME)
    assert not (program.home / "data/machines" / NAME).exists()
    _a_container_has_what_was_on_it(program)


def _the_volume_is_a_disk(program: Program) -> None:
    """It has Compute Engine's name, is formatted and mounted, and grows while the machine runs."""
    found = inside(program, "findmnt -no SOURCE,FSTYPE /srv/data").replace("[/data]", "").split()
    device = inside(program, f"readlink -f /dev/disk/by-id/google-{DISK}").strip()
    assert found == [device, "ext4"]
    inside(program, "echo kept >/srv/data/file && chown www-data: /srv/data/file")
    program.run("volume", "resize", DISK, "2g")
    assert int(inside(program, "df -m --output=size /srv/data").split()[-1]) > 1500
    assert "is in use" in program.run("volume", "convert", DISK, "--to", "directory", check=False).stderr


def _a_container_has_what_was_on_it(program: Program) -> None:
    """The machine was killed, so the disk's journal has to be read as well."""
    words = ("run", "--rm", "-v", f"{DISK}:/srv/data", "-e", "GREETING=x", "hello")
    refused = program.run(*words, "true", check=False)
    assert refused.returncode == 2
    assert f"stoneware volume convert {DISK} --to directory" in refused.stderr
    program.run("volume", "convert", DISK, "--to", "directory")
    assert program.run(*words, "stat", "-c", "%U", "/srv/data/file").stdout == "www-data\n"
    assert program.run(*words, "cat", "/srv/data/file").stdout == "kept\n"


def _exit_code(program: Program) -> int:
    deadline = time.monotonic() + 300
    while (code := program.machine(NAME)["exit_code"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(code)


def _commands(program: Program, tmp_path: Path) -> None:
    assert inside(program, "uname -r") != f"{os.uname().release}\n"
    done = program.run(
        "exec",
        "-u",
        "www-data",
        "-e",
        "A=b c",
        NAME,
        "sh",
        "-c",
        'id -un; echo "$A" >&2; exit 7',
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("www-data\n", "b c\n", 7)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "bytes").write_bytes(bytes(range(256)) * 64)
    (tree / "link").symlink_to("bytes")
    program.run("cp", tree, f"{NAME}:/srv")
    program.run("cp", f"{NAME}:/srv/tree", tmp_path / "back")
    assert (tmp_path / "back/bytes").read_bytes() == (tree / "bytes").read_bytes()
    assert (tmp_path / "back/link").readlink() == Path("bytes")


def _qemu_has_nothing(pid: int) -> None:
    """QEMU is nobody, in a root and a network of its own, and can never be more."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert min(map(int, (status["Uid"] + "\t" + status["Gid"]).split())) >= 0x70000000
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert sorted(path.name for path in (process / "root/disks").iterdir()) == ["root.raw", "vars.fd"]
    assert not {"proc", "root", "var", "sys"} & {path.name for path in (process / "root").iterdir()}
    interfaces = (process / "net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def _addresses_are_pinned(program: Program) -> None:
    """From another address or another card's the machine reaches nothing, not even its own metadata."""
    assert inside(program, METADATA) == NAME
    script = f"""
        card=$(ip -o route get 169.254.169.254 | sed 's/.* dev \\([^ ]*\\).*/\\1/')
        own=$(ip -o -4 addr show "$card" | awk '{{print $4; exit}}')
        other=${{own%.*}}.77/${{own#*/}}
        ip addr add "$other" dev "$card"
        {METADATA} --interface "${{other%/*}}" && echo address
        ip addr del "$other" dev "$card"
        mac=$(cat /sys/class/net/$card/address)
        ip link set "$card" address 02:00:00:00:00:77
        {METADATA} && echo card
        ip link set "$card" address "$mac"
        tries=0 # its network daemon asks for an address again
        until [ -n "$({METADATA})" ] || [ "$tries" -gt 60 ]; do tries=$((tries + 1)); sleep 1; done
        {METADATA}
    """
    assert inside(program, script) == NAME
