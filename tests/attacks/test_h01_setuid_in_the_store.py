"""H1: a setuid program that a machine leaves in the store makes an ordinary user of the computer root."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.store.recover import teardown
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.local.store.walls import missing_walls
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

_WHO = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { return printf("%d\\n", geteuid()) < 0; }\n'
_USER = 12345


def _as_user(program: Path | str, descriptor: int | None = None) -> str:
    """Run a program as an ordinary user of this computer; return what it says, or the error."""
    opened = () if descriptor is None else (descriptor,)
    try:
        done = subprocess.run(
            [str(program)], user=_USER, group=_USER, extra_groups=[], pass_fds=opened, capture_output=True,
            text=True, check=False, stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
    except PermissionError:
        return "denied"
    return done.stdout.strip()


def _through_a_descriptor(program: Path) -> str:
    """Run a program as an ordinary user that somehow holds it open: past the modes of all directories."""
    descriptor = os.open(program, os.O_RDONLY)
    try:
        return _as_user(f"/proc/self/fd/{descriptor}", descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
def test_a_setuid_program_is_root_in_its_machine_and_nothing_outside(
    lab: Bench, compiled: Callable[[str], Path], read_only: bool
) -> None:
    volume = f"{lab.name}-v"
    data = lab.store.create_volume(volume)
    (data / "who").write_bytes(compiled(_WHO).read_bytes())
    lab.boot(volumes=(VolumeMount(volume, "/srv"),), read_only=read_only)
    left = "/run/stoneware/volumes/0/who /usr/local/bin/who"
    made = f"chmod 755 / /srv; cp {left}; set -- {left}; chown root:root $*; chmod 4755 $*"
    assert lab.sh(made) == 0
    for path in left.split():
        # Inside it works, as sudo and ping have to.
        inside = f'[ "$(setpriv --reuid={_USER} --regid={_USER} --clear-groups {path})" = 0 ]'
        assert lab.sh(f"chmod 711 /run/stoneware/volumes; {inside}") == 0, path
    if not read_only:
        lab.platform.checkpoint(lab.name, lab.name, {})
    kept = lab.store.checkpoint_rootfs(lab.name) / "usr/local/bin/who"
    root = lab.paths().rootfs / "usr/local/bin/who"
    try:
        for program in [data / "who", *([] if read_only else [root, kept])]:
            assert program.stat().st_mode & stat.S_ISUID
            assert _as_user(program) == "denied"
            assert _through_a_descriptor(program) == str(_USER)
    finally:
        lab.store.remove_checkpoint(lab.name)


def test_a_device_node_in_the_store_is_nobodys_device(lab: Bench) -> None:
    volume = f"{lab.name}-v"
    node = lab.store.create_volume(volume) / "null"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    node.chmod(0o666)
    with pytest.raises(PermissionError):
        node.read_bytes()
    lab.boot(volumes=(VolumeMount(volume, "/srv"),))
    assert lab.sh("cat /run/stoneware/volumes/0/null 2>/dev/null") != 0


def test_nothing_of_a_store_can_be_read_by_others(lab: Bench) -> None:
    lab.boot()
    looked = subprocess.run(
        ["find", lab.home, "-readable", "-path", f"{lab.home}/*"],
        user=_USER, group=_USER, extra_groups=[], capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert looked.stdout == ""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store as it was made before there were walls, mounted."""
    monkeypatch.setenv("STONEWARE_POOL_SIZE", "1G")
    store = Store.open(tmp_path / "home")
    assert store.told == []
    for path in (store.home, store.data):
        path.chmod(0o711)
    subprocess.run(["mount", "-o", "remount,bind,suid,dev", store.data], check=True)
    yield store
    teardown(store, remove=True)
    assert not store.home.exists()


def test_an_older_store_is_closed_by_the_next_command(old: Store) -> None:
    assert len(missing_walls(old.home, old.data)) == 3
    told = Store.open(old.home).told
    assert [sentence.partition(" ")[0] for sentence in told] == ["closed", "closed", "remounted"]
    assert missing_walls(old.home, old.data) == []
    assert Store.open(old.home).told == []


def test_a_store_on_a_btrfs_of_the_computer_is_bound_nosuid(old: Store) -> None:
    inner = Store.open(old.data / "builds" / "inner")
    assert inner.told == []
    assert missing_walls(inner.home, inner.data) == []
    teardown(inner, remove=True)
    assert not inner.home.exists()
