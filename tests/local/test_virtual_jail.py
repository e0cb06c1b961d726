"""The jail of QEMU, from inside: what is there, what may be written, and as whom."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stoneware.platforms.local.machines.qemu import jail

pytestmark = pytest.mark.machine

USER = 0x70000001
LOOK = """
echo root $(ls /)
echo dev $(ls /dev)
echo disks $(ls /disks)
echo links $(ip -o link | wc -l)
for place in /x /usr/x /lib/x /etc/x /dev/x /tmp/x; do
    if touch "$place" 2>/dev/null; then echo "wrote $place"; fi
done
echo kept >/disks/kept
id -u; id -g; id -G
if unshare --mount true 2>/dev/null; then echo 'may mount'; fi
if head -c 1 /disks/device >/dev/null 2>&1; then echo 'read a device'; fi
"""
APART = """\
mount --make-rshared / && mkdir "$0/own" && mount -t tmpfs own "$0/own" || exit
cat /proc/self/mountinfo >"$0/before"
"$@" || exit
cat /proc/self/mountinfo >"$0/after"
"""


def test_the_jail_has_programs_and_the_machine_s_disks_and_nothing_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    disks = tmp_path / "disks"
    disks.mkdir()
    os.mknod(disks / "device", 0o20666, os.makedev(1, 5))
    os.chown(disks, USER, USER)
    tmp_path.parent.chmod(0o700)
    argv = jail.command(disks, USER, ["sh", "-c", LOOK], kvm=False)
    # The mounts of this computer change meanwhile, by other tests: those of a place of its own are compared.
    # Even they may become fewer: what is mounted on a directory goes with it, everywhere.
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", APART, str(tmp_path), *argv]
    done = subprocess.run(apart, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    system = [name for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin") if Path("/", name).exists()]
    assert said[0] == f"root {' '.join(sorted([*system, 'dev', 'disks', 'etc', 'tmp', 'usr']))}"
    assert said[1:4] == ["dev null urandom", "disks device", "links 1"]
    assert said[4:] == [str(USER)] * 3
    assert (disks / "kept").stat().st_uid == USER
    before, after = ((tmp_path / name).read_text().splitlines() for name in ("before", "after"))
    assert set(after) <= set(before)
    assert [line.split()[4] for line in after].count(str(tmp_path / "own")) == 1
