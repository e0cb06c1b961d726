"""H6: directories too deep for a path, with subvolumes at their ends, in roots, volumes and caches."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

from stoneware.errors import HostError
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.store import btrfs, prune
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.upkeep import Unused
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

# Makes $ARGV[0] directories inside each other in $ARGV[1], and at the end three subvolumes in each other, the
# middle one read-only, with a name of its own that is no text.
DIG = r"""
use Fcntl; my ($depth, $top) = @ARGV; chdir $top or die "chdir $!";
sub create { sysopen(my $here, ".", O_RDONLY) or die "open $!";
  ioctl($here, 0x5000940E, my $a = pack("q a4088", 0, $_[0])) or die "create $!"; }
for (1 .. $depth) { mkdir "directory" or die "mkdir $!"; chdir "directory" or die "chdir $!"; }
create("outer"); chdir "outer" or die; mkdir "x"; chdir "x" or die; create("mid\xff\ndle");
chdir "mid\xff\ndle" or die;
mkdir "y" or die; chdir "y" or die; create("inner"); open(F, ">inner/file") or die; close F;
chdir ".." or die; sysopen(my $middle, ".", O_RDONLY) or die;
ioctl($middle, 0x4008941A, my $f = pack("Q", 2)) or die "read-only $!";
"""


def dig(lab: Bench, depth: int, where: str) -> None:
    assert lab.platform.run(lab.name, ["perl", "-e", DIG, str(depth), where], timeout=60) == (0, "")


def subvolumes(lab: Bench) -> int:
    said = subprocess.run(
        ["btrfs", "subvolume", "list", lab.store.data], capture_output=True, check=True, text=True
    )
    return said.stdout.count("outer") + said.stdout.count("inner")


def test_a_root_and_a_volume_that_no_path_reaches(lab: Bench) -> None:
    volume = f"{lab.name}-v"
    lab.store.create_volume(volume)
    lab.boot(volumes=(VolumeMount(volume, "/v"),))
    dig(lab, 2000, "/root")
    dig(lab, 2000, "/run/stoneware/volumes/0")
    lab.platform.destroy(lab.name)
    assert lab.platform.observe(lab.name) is None
    lab.store.remove_volume(volume)
    assert recover(lab.store) == []
    assert subvolumes(lab) == 0


def test_a_cache_that_no_path_reaches(lab: Bench) -> None:
    cache = lab.store.cache_path(lab.name)
    dig_here(cache, 3000)
    what = Unused(machines=(), images=(), checkpoints=(), caches=(cache.name,))
    prune.prune(lab.platform, what)
    assert not cache.exists()


def test_many_subvolumes_beside_each_other(lab: Bench, tmp_path: Path) -> None:
    top = lab.store.data / "builds" / lab.name
    btrfs.create(top)
    for number in range(300):  # more than one call of the kernel lists
        btrfs.create(top / str(number))
    btrfs.remove_tree(top)
    assert not top.exists()


def test_what_cannot_be_removed_is_in_nobodys_way(lab: Bench) -> None:
    staged = lab.store.data / "machines" / f".staged-{lab.name}"
    staged.mkdir()
    (staged / "file").touch()
    immutable(staged / "file", True)
    try:
        told = recover(lab.store)
        assert len(told) == 1
        assert "cannot be removed" in told[0]
        assert "stoneware prune" in told[0]
        assert recover(lab.store) == []  # told once
        aside = lab.store.broken()
        assert [path.name for path in aside] == [f".broken-{lab.name}"]
        what = prune.unused(lab.platform)
        assert what.remains == (f"machines/.broken-{lab.name}",)
        assert not what.empty
        left = Unused((), (), (), (), remains=what.remains)
        with pytest.raises(HostError, match="cannot be removed"):
            prune.prune(lab.platform, left)
        lab.boot()  # commands about others go on
        immutable(aside[0] / "file", False)
        prune.prune(lab.platform, left)
        assert lab.store.broken() == []
    finally:
        for path in [staged, *lab.store.broken()]:
            if path.exists():
                immutable(path / "file", False)
                btrfs.remove_tree(path)


def dig_here(top: Path, depth: int) -> None:
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("directory", dir_fd=here)
        inner = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    fcntl.ioctl(here, 0x5000940E, bytearray(struct.pack("<q4088s", 0, b"outer")))
    os.close(here)


def immutable(path: Path, on: bool) -> None:
    subprocess.run(["chattr", "+i" if on else "-i", path], check=True)
