"""H7: a subvolume that a step makes would be missing in every snapshot, and so in the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.store import btrfs
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

MAKE = r"""
use Fcntl; sysopen(my $here, $ARGV[0], O_RDONLY) or die "open $!";
ioctl($here, 0x5000940E, my $a = pack("q a4088", 0, $ARGV[1])) or die "create $!";
"""


def make(lab: Bench, directory: str, name: str) -> None:
    assert lab.platform.run(lab.name, ["perl", "-e", MAKE, directory, name], timeout=60) == (0, "")


def test_a_step_that_makes_a_subvolume_fails_with_its_name(lab: Bench) -> None:
    lab.boot()
    make(lab, "/srv", "data")
    lab.sh("echo precious >/srv/data/file")
    key = f"key-{lab.name}"
    with pytest.raises(MachineError, match="there is a btrfs subvolume") as caught:
        lab.platform.checkpoint(lab.name, key, {})
    assert caught.value.details.startswith("/srv/data\n")
    assert not lab.store.has_checkpoint(key)
    lab.platform.stop(lab.name)
    with pytest.raises(MachineError, match="btrfs subvolume"):
        lab.platform.capture(lab.name, b"{}", {})


def test_an_empty_subvolume_becomes_a_directory(lab: Bench) -> None:
    """systemd-tmpfiles makes one of /var/lib/machines and others, where a directory is missing."""
    lab.boot()
    script = "rmdir /srv && printf 'v /srv 0710 daemon - -\\n' | systemd-tmpfiles --create -"
    assert lab.platform.run(lab.name, ["sh", "-c", script], timeout=60) == (0, "")
    rootfs = lab.paths().rootfs
    assert btrfs.is_subvolume(rootfs / "srv")
    before = (rootfs / "srv").stat()
    key = f"key-{lab.name}"
    lab.platform.checkpoint(lab.name, key, {})
    try:
        after = (lab.store.checkpoint_rootfs(key) / "srv").stat()
        kept = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        assert not btrfs.is_subvolume(Path(rootfs / "srv"))
        assert lab.sh("echo x >/srv/file") == 0  # the machine goes on with it
    finally:
        lab.store.remove_checkpoint(key)
