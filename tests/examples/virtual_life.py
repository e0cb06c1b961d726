"""What is checked in a virtual machine that runs, whoever has started it: a boot in software takes long."""

from __future__ import annotations

import os
from pathlib import Path

from stoneware.platforms.local.disks.reading import TOOLS as READING
from stoneware.platforms.local.host.requirements import TABLE
from stoneware.platforms.local.machines.record import Paths, shown_processes

from .conftest import Program

_NEEDED = {"qemu-system-x86_64", "mcopy", "mkfs.vfat", "sfdisk", *READING, "OVMF", "tun"}
_NAME = "curl -s -m 5 -H Metadata-Flavor:Google http://169.254.169.254/computeMetadata/v1/instance/name"


def lacking() -> list[str]:
    """Return what this computer lacks for virtual machines whose volumes become disks and directories."""
    return [one.name for one in TABLE if one.name in _NEEDED and one.quick()]


def inside(program: Program, name: str, script: str) -> str:
    return program.run("exec", name, "sh", "-c", script).stdout


def leader(program: Program, name: str) -> int:
    """Return the process of a machine's QEMU."""
    pid = shown_processes(Paths(program.home / "data/machines" / name)).leader
    assert pid is not None
    return pid


def commands_and_copies(program: Program, name: str, directory: Path) -> None:
    assert inside(program, name, "uname -r") != f"{os.uname().release}\n"
    words = ("exec", "-u", "www-data", "-e", "A=b c", name, "sh", "-c", 'id -un; echo "$A" >&2; exit 7')
    done = program.run(*words, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("www-data\n", "b c\n", 7)
    tree = directory / "tree"
    tree.mkdir()
    (tree / "bytes").write_bytes(bytes(range(256)) * 64)
    (tree / "link").symlink_to("bytes")
    program.run("cp", tree, f"{name}:/srv")
    program.run("cp", f"{name}:/srv/tree", directory / "back")
    assert (directory / "back/bytes").read_bytes() == (tree / "bytes").read_bytes()
    assert (directory / "back/link").readlink() == Path("bytes")


def a_volume_is_a_disk(program: Program, name: str, volume: str, path: str) -> None:
    """It has Compute Engine's name, is formatted and mounted, and is not converted while the machine runs."""
    script = f"findmnt -no SOURCE,FSTYPE {path}; readlink -f /dev/disk/by-id/google-{volume}"
    mounted, kind, device = inside(program, name, script).replace("[/data]", "").split()
    assert (mounted, kind) == (device, "ext4")
    refused = program.run("volume", "convert", volume, "--to", "directory", check=False)
    assert "is in use" in refused.stderr


def qemu_has_nothing(program: Program, name: str) -> None:
    """QEMU is nobody, in a root and a network of its own, and can never be more."""
    process = Path(f"/proc/{leader(program, name)}")
    lines = (process / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert min(map(int, (status["Uid"] + "\t" + status["Gid"]).split())) >= 0x70000000
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert sorted(path.name for path in (process / "root/disks").iterdir()) == ["root.raw", "vars.fd"]
    assert not {"proc", "root", "var", "sys"} & {path.name for path in (process / "root").iterdir()}
    interfaces = (process / "net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def addresses_are_pinned(program: Program, name: str) -> None:
    """From another address or another card's the machine reaches nothing, not even its own metadata."""
    script = f"""
        {_NAME} && echo
        card=$(ip -o route get 169.254.169.254 | sed 's/.* dev \\([^ ]*\\).*/\\1/')
        own=$(ip -o -4 addr show "$card" | awk '{{print $4; exit}}')
        other=${{own%.*}}.77/${{own#*/}}
        ip addr add "$other" dev "$card"
        {_NAME} --interface "${{other%/*}}" && echo address
        ip addr del "$other" dev "$card"
        mac=$(cat /sys/class/net/$card/address)
        ip link set "$card" address 02:00:00:00:00:77
        {_NAME} && echo card
        ip link set "$card" address "$mac"
        tries=0 # its network daemon asks for an address again
        until [ -n "$({_NAME})" ] || [ "$tries" -gt 60 ]; do tries=$((tries + 1)); sleep 1; done
        {_NAME}
    """
    assert inside(program, name, script) == f"{name}\n{name}"
