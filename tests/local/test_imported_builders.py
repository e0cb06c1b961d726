"""Installing what an import lacks, in real builders whose apt-get is a stand-in: walls, words, kills."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.errors import BuildError
from stoneware.platforms.local.bases import packages
from stoneware.platforms.local.machines.stop import wait_until
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.platforms.local.store.recover import recover
from tests.local.kills import kill_at_work

pytestmark = pytest.mark.machine

KEY = "0b" * 20  # of what was imported
RAW = f"raw-{KEY}"
LACKS = {"curl": "curl"}

# What an import lacks is installed without end.
_WORK = """
import sys; from pathlib import Path
from stoneware.platforms.local.store.images import LocalImageStore
from tests.local.test_imported_builders import Import
made = Import(LocalImageStore.open(Path(sys.argv[1]))); mortal()
while True:
    made.base(); made.forget_packages()
"""


class Import:
    """A root file system that lacks curl, and whose apt-get is a script."""

    def __init__(self, store: LocalImageStore) -> None:
        self.store = store
        self.platform = LocalPlatform(store)

    def have(self, script: str) -> None:
        base = self.store.base_identity("debian:12")
        assert base is not None
        raw = (self.store.checkpoint_document(base) or {})["raw"]
        self.forget()
        with self.store.staging(self.store.data / "checkpoints") as staged:
            root = staged / "rootfs"
            btrfs.snapshot(self.store.checkpoint_rootfs(str(raw)), root, read_only=False)
            (root / "usr/bin/curl").rename(root / "curl")
            (root / "usr/bin/apt-get").write_text(f"#!/bin/sh\n{script}\n")
            self.store.save_checkpoint(RAW, root, {"imported": "rootfs.tar", "created": 1.0, "lacks": LACKS})

    def install(self) -> Path:
        told: list[str] = []
        key = packages.ensure(self.store, self.platform, RAW, LACKS, told.append)
        return self.store.checkpoint_rootfs(key)

    def fails(self) -> str:
        with pytest.raises(
            BuildError, match="lacks what machines need, and it cannot be installed: curl"
        ) as caught:
            self.install()
        return caught.value.details

    def base(self) -> Path:
        """Do as a bake does."""
        key = self.store.ensure_base(f"imported:{KEY}", refresh=False, progress=lambda _: None)
        return self.store.checkpoint_rootfs(key)

    def forget(self) -> None:
        self.forget_packages()
        self.store.remove_checkpoint(RAW)

    def forget_packages(self) -> None:
        """Forget all that was made of what was imported."""
        for key in self.store.checkpoint_keys():
            if (self.store.checkpoint_document(key) or {}).get("raw") == RAW:
                self.store.remove_checkpoint(key)

    def builders(self) -> list[str]:
        names = (path.name for path in (self.store.data / "machines").iterdir())
        return [name for name in names if name.startswith(("packages-", ".staged-"))]


@pytest.fixture
def made(machine_home: Path) -> Iterator[Import]:
    found = Import(LocalImageStore.open(machine_home))
    try:
        yield found
        assert found.builders() == []
    finally:
        found.forget()


def test_a_failure_tells_what_it_said_and_leaves_nothing(made: Import) -> None:
    before = made.store.checkpoint_keys()
    made.have('echo "E: Release file expired" >&2; exit 100')
    assert made.fails().splitlines()[1:] == ["E: Release file expired"]
    # A source that is gone is a warning only: it is repeated where that was why.
    update = 'for word; do [ "$word" != update ] || { echo "W: no mirror" >&2; exit 0; }; done'
    made.have(f'{update}; echo "E: no curl"; exit 100')
    assert made.fails().splitlines()[1:] == ["W: no mirror", "E: no curl", "W: no mirror"]
    made.have("exit 0")
    assert made.fails() == "apt-get has installed curl, and still there is no curl."
    assert {*made.store.checkpoint_keys()} == {*before, RAW}


def test_what_a_stranger_says_is_bounded(made: Import) -> None:
    made.have("head -c 60000000 /dev/zero | tr '\\\\0' x; exit 7")
    assert len(made.fails()) < 1000


def test_a_stranger_sees_nothing_of_this_computer(made: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATORS_WORD", "unheard")
    look = "tr '\\0' '\\n' </proc/self/environ; cat /proc/self/uid_map; ls -l /proc/self/fd /sys/class/net"
    made.have(f"({look}) >/seen 2>&1; cp /curl /usr/bin/curl")
    seen = (made.install() / "seen").read_text()
    assert "unheard" not in seen
    assert "LC_ALL=C\n" in seen
    assert " 0 -> /dev/null\n" in seen
    assert " host0 -> " in seen
    # Its root is nobody here.
    (mapped,) = re.findall(r"^ *0 +([0-9]+) +65536$", seen, re.MULTILINE)
    assert int(mapped) >= 1 << 16


def test_it_resolves_names_and_has_a_way_out(made: Import) -> None:
    made.have("cat /etc/resolv.conf /proc/net/route /usr/sbin/policy-rc.d >/seen; cp /curl /usr/bin/curl")
    root = made.install()
    seen = (root / "seen").read_text()
    assert "nameserver 169.254.169.254\n" in seen
    assert "host0\t00000000" in seen
    assert "exit 101" in seen
    assert not (root / "usr/sbin/policy-rc.d").exists()


def test_a_kill_leaves_nothing_and_the_next_command_makes_it(made: Import) -> None:
    made.have("cp /curl /usr/bin/curl")
    before = made.store.checkpoint_keys()
    for change in range(4, 200, 28):
        kill_at_work(made.store, _WORK, change)
        assert made.builders() == []
        keys = {*made.store.checkpoint_keys()} - {*before}
        for key in keys:  # whole, or not there
            assert (made.store.checkpoint_rootfs(key) / "usr/bin/curl").is_file()
            assert (made.store.checkpoint_document(key) or {})["raw"] == RAW
    assert (made.base() / "usr/bin/curl").is_file()


def test_a_kill_while_they_are_installed(made: Import) -> None:
    made.have(": >/began; exec sleep 3000")
    before = made.store.checkpoint_keys()
    words = [sys.executable, "-c", f"mortal = lambda: None\n{_WORK}", str(made.store.home)]
    with subprocess.Popen(words) as command:
        machines = made.store.data / "machines"
        try:
            assert wait_until(lambda: [*machines.glob("packages-*/rootfs/began")] != [], 300)
        finally:
            command.kill()

    def settled() -> bool:
        recover(made.store)
        return made.builders() == []

    assert wait_until(settled, 300)
    assert made.store.checkpoint_keys() == before
