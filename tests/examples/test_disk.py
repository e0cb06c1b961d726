"""Images as disks: looked at by other people's tools, and booted by UEFI on a kernel of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import IO, cast

import pytest

from stoneware.platforms.local.disks import disks
from stoneware.platforms.local.disks.foreign import recognise
from stoneware.platforms.local.disks.reader import root_archive
from stoneware.platforms.local.store.images import LocalImageStore

from .conftest import EXAMPLES, Program
from .disks import MIB, PATIENCE, ROOT_AT, digest, in_disk, tool, wait_until
from .virtual_machines import Metadata, booted, served

# Boots in software, on a computer that has other work: each wait has ten minutes.
pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def raw(hello: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 2 GiB."""
    made = tmp_path_factory.mktemp("disk") / "hello.raw"
    hello.run("export", "hello", "-o", made, "--size", "2g")
    return made


@pytest.fixture(scope="module")
def qcow2(hello: Program, raw: Path) -> Path:
    """The same disk in another format."""
    made = raw.with_suffix(".qcow2")
    hello.run("export", "hello", "-o", made, "--size", "2g")
    return made


def test_other_tools_find_no_fault(raw: Path, qcow2: Path, tmp_path: Path) -> None:
    assert raw.stat().st_size == 2 << 30
    assert raw.stat().st_blocks * 512 < 800 * MIB  # sparse
    assert "No problems found" in tool("sgdisk", "-v", raw)
    assert "Pass 5" in tool("e2fsck", "-f", "-n", f"{raw}?offset={ROOT_AT}")
    boot = tmp_path / "boot"
    tool("dd", f"if={raw}", f"of={boot}", "bs=1M", "skip=1", "count=64", "status=none")
    tool("fsck.vfat", "-n", boot)
    assert "No errors" in tool("qemu-img", "check", qcow2)
    assert "identical" in tool("qemu-img", "compare", raw, qcow2)
    assert in_disk(raw, "cat /etc/machine-id") == ""


def test_a_killed_assembly_leaves_nothing_and_the_next_gives_the_same_bytes(
    hello: Program, raw: Path, tmp_path: Path
) -> None:
    store = LocalImageStore.open(hello.home)
    stored = list(disks.stored_disks(store))
    before = {digest(disk.path) for disk in stored}
    for disk in stored:
        disks.remove_disk(store, disk.key)
    program = str(Path(sys.executable).parent / "stoneware")
    argv = [program, "export", "hello", "-o", str(tmp_path / "x.raw")]
    env = {**os.environ, "STONEWARE_HOME": str(hello.home)}
    child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: list((store.data / "disks").glob(".staged-*/disk.raw")), 300)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert "an incomplete disk" in hello.run("ps").stderr
    assert list((store.data / "disks").iterdir()) == []
    assert list(tmp_path.iterdir()) == []

    said = hello.run("export", "hello", "-o", tmp_path / "again.raw").stderr
    assert "assembled a disk" in said
    assert "installing" not in said
    assert digest(tmp_path / "again.raw") in before
    assert {row["kind"]: row["total"] for row in hello.json("system", "df")["kinds"]}["disks"] == 1


def test_a_changed_line_takes_the_kernel_that_is_there(hello: Program, raw: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "hello", tmp_path / "hello")
    with (tmp_path / "hello/Machinefile").open("a") as stream:
        stream.write("RUN install -d -o 1000 -m 2755 /srv/new && echo changed >/srv/new/file\n")
    hello.run("bake", "-q", "-t", "hello:changed", tmp_path / "hello")
    said = hello.run("export", "hello:changed", "-o", tmp_path / "changed.raw").stderr
    assert "took kernel" in said
    assert "installing" not in said
    changed = tmp_path / "changed.raw"
    assert "Pass 5" in tool("e2fsck", "-f", "-n", f"{changed}?offset={ROOT_AT}")
    assert in_disk(changed, "cat /srv/new/file") == "changed\n"
    assert "User:  1000" in in_disk(changed, "stat /srv/new")
    roots = {tool("sgdisk", "-i", "2", disk).split("unique GUID: ")[1].split()[0] for disk in (raw, changed)}
    tables = {
        in_disk(disk, "cat /etc/fstab").split("PARTUUID=")[1].split()[0].upper() for disk in (raw, changed)
    }
    assert len(roots) == 2
    assert tables == roots
    hello.run("rmi", "hello:changed")
    hello.bake("hello", EXAMPLES / "hello")  # which `hello:latest` is again


def test_the_root_file_system_alone(hello: Program, tmp_path: Path) -> None:
    hello.run("export", "hello", "-o", tmp_path / "hello.tar")
    store = LocalImageStore.open(hello.home)
    root = store.image_rootfs(store.tags()["hello:latest"])
    with tarfile.open(tmp_path / "hello.tar") as archive:
        found = {member.name: member for member in archive}
    there = {f"./{path.relative_to(root)}" for path in root.rglob("*")}
    assert {name for name in found if name != "."} == there
    assert found["./etc/shadow"].mode == 0o640
    assert found["./etc/shadow"].gid == (root / "etc/shadow").stat().st_gid
    assert not [name for name in found if name.startswith("./boot/vmlinuz")]


def test_it_boots_and_serves_what_its_metadata_says(hello: Program, raw: Path, tmp_path: Path) -> None:
    metadata = Metadata({"stoneware-config": "GREETING=Hello from a kernel of its own\n"})
    with served(metadata) as port, booted(raw, tmp_path, port) as machine:

        def is_over() -> bool:
            healthy = metadata.reported("health").get("status") == "healthy"
            return healthy or machine.process.poll() is not None

        assert wait_until(is_over, PATIENCE), machine.console[-2000:]
        assert metadata.reported("status")["phase"] == "running"
        assert "fsck not present" not in machine.console
        with urllib.request.urlopen(f"http://127.0.0.1:{machine.port}/", timeout=30) as reply:
            assert "<h1>Hello from a kernel of its own</h1>" in reply.read().decode()
        metadata.changed.set()

        def is_off() -> bool:
            if machine.process.poll() is None:
                machine.power_button()  # again: nobody in the machine may have watched it yet
            return machine.process.poll() is not None

        assert wait_until(is_off, PATIENCE), machine.console[-2000:]
        assert machine.process.returncode == 0
    # It was shut down in order, its root has grown to the disk, and it has an identity of its own.
    assert "clean" in in_disk(raw, "show_super_stats -h").split("Filesystem state:")[1].splitlines()[0]
    blocks = int(in_disk(raw, "show_super_stats -h").split("Block count:")[1].split()[0])
    assert blocks * 4096 > 1900 * MIB
    assert len(in_disk(raw, "cat /etc/machine-id").strip()) == 32


def test_an_image_that_is_to_have_no_kernel(hello: Program, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Machinefile").write_text("FROM hello\nLABEL stoneware.kernel=none\n")
    hello.bake("kernelless", context)
    done = hello.run("export", "kernelless", "-o", tmp_path / "x.raw", check=False)
    assert done.returncode == 2
    assert "the image is to have no kernel" in done.stderr
    assert "LABEL stoneware.kernel=cloud" in done.stderr
    hello.run("export", "kernelless", "-o", tmp_path / "x.tar.zst")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["context", "x.tar.zst"]
    hello.run("rmi", "-f", "kernelless")


def test_a_size_that_is_too_small_and_a_disk_that_is_full(hello: Program, tmp_path: Path) -> None:
    done = hello.run("export", "hello", "-o", tmp_path / "x.raw", "--size", "100m", check=False)
    assert done.returncode == 2
    assert "--size" in done.stderr
    small = tmp_path / "small"
    small.mkdir()
    tool("mount", "-t", "tmpfs", "-o", "size=48m", "stoneware-test", small)
    try:
        for name in ("x.raw", "x.qcow2", "x.tar"):
            done = hello.run("export", "hello", "-o", small / name, check=False)
            assert done.returncode == 3, done.stderr
            assert "there is no room for" in done.stderr
        assert list(small.iterdir()) == []
    finally:
        tool("umount", small)


# -- disks that come in -----------------------------------------------------------------------------------


def entries(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what a tree has, by path: modes, owners, sizes, times, names, attributes."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        size = (status.st_size, status.st_nlink) if path.is_file() and not path.is_symlink() else ()
        kept = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), size, attributes)
        found[str(path.relative_to(root))] = kept
    return found


def test_an_exported_disk_comes_back_as_it_was_and_boots(hello: Program, qcow2: Path) -> None:
    store = LocalImageStore.open(hello.home)
    before = set(store.checkpoint_keys())
    done = hello.run("import", qcow2, "-t", "returned", "--json")
    assert "reading partition 2 (ext4)" in done.stderr
    (raw,) = (key for key in set(store.checkpoint_keys()) - before if key.startswith("raw-"))
    image = store.tags()["hello:latest"]
    layers = [key for key in store.checkpoint_keys() if disks.layer_image(store, key) == image]
    found = entries(store.checkpoint_rootfs(raw))
    assert found in [entries(store.checkpoint_rootfs(key)) for key in layers if key.startswith("kernel-")]
    root = store.image_rootfs(store.tags()["returned:latest"])
    assert not (root / "etc/fstab").exists()
    assert "PARTUUID=" in (root / "etc/fstab.imported").read_text()
    said = hello.run("run", "--rm", "returned", "systemctl", "is-system-running", "--wait").stdout
    assert said == "running\n"
    hello.run("rmi", "-f", "returned")


def file_systems(directory: Path) -> Path:
    """Make a VMDK with XFS, btrfs and ext4 on it, a Linux in the first two."""
    tree = directory / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/os-release").write_text("ID=debian\n")
    (tree / "etc/program").write_text("x")
    (tree / "etc/program").chmod(0o4755)
    os.chown(tree / "etc/program", 5, 6)
    (tree / "etc/program").chmod(0o4755)
    (tree / "etc/again").hardlink_to(tree / "etc/program")
    os.setxattr(tree / "etc/os-release", "user.kept", b"yes")
    parts = [("xfs", 320), ("btrfs", 128), ("ext4", 8)]
    for name, size in parts:
        with (directory / name).open("xb") as stream:
            stream.truncate(size * MIB)
    (directory / "proto").write_text(
        f"/boot\n0 0\nd--755 0 0\netc d--755 0 0\nos-release ---644 0 0 {tree}/etc/os-release\n$\n$\n"
    )
    tool("mkfs.xfs", "-q", "-p", directory / "proto", directory / "xfs")
    tool("mkfs.btrfs", "-q", "--rootdir", tree, directory / "btrfs")
    tool("mkfs.ext4", "-q", directory / "ext4")
    root = "type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
    script = f"label: gpt\nstart=2048,size=320M\nsize=128M,{root}\nsize=8M\n"
    disk, place = directory / "disk.raw", 1
    with disk.open("xb") as stream:
        stream.truncate(460 * MIB)
    done = subprocess.run(["/sbin/sfdisk", "-q", disk], input=script, text=True, check=False)
    assert done.returncode == 0
    for name, size in parts:
        tool("dd", f"if={directory / name}", f"of={disk}", "bs=1M", f"seek={place}", "conv=notrunc,sparse")
        place += size
    tool(
        "qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", disk, directory / "disk.vmdk"
    )
    return directory / "disk.vmdk"


def test_xfs_and_btrfs_are_read_as_well(hello: Program, tmp_path: Path) -> None:
    disk = recognise(file_systems(tmp_path))
    assert disk is not None
    said: list[str] = []
    with root_archive(LocalImageStore.open(hello.home), disk, said.append) as reading:
        with tarfile.open(fileobj=cast("IO[bytes]", reading), mode="r|") as archive:
            found = {member.name: member for member in archive}
        reading.finish()
    assert said[-2:] == ["left out: the partitions 1 (xfs), 3 (ext4)", "reading partition 2 (btrfs)"]
    assert [(each.filesystem, each.directory) for each in reading.report.partitions] == [
        ("xfs", "."),
        ("btrfs", "."),
        ("ext4", ""),
    ]
    assert set(found) == {".", "./etc", "./etc/os-release", "./etc/program", "./etc/again"}
    assert {found[name].type for name in ("./etc/program", "./etc/again")} == {
        tarfile.REGTYPE,
        tarfile.LNKTYPE,
    }
    program = next(each for each in found.values() if each.mode == 0o4755)
    assert (program.uid, program.gid) == (5, 6)
    assert found["./etc/os-release"].pax_headers["SCHILY.xattr.user.kept"] == "yes"


def readers() -> list[str]:
    """Return the processes of machines that read disks."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if b"\0stoneware-import\0" in path.read_bytes() else []
    return found


def test_a_killed_import_leaves_nothing(hello: Program, raw: Path) -> None:
    store = LocalImageStore.open(hello.home)
    before = store.checkpoint_keys()
    argv = [str(Path(sys.executable).parent / "stoneware"), "import", str(raw), "-t", "torn"]
    env = {**os.environ, "STONEWARE_HOME": str(hello.home)}
    child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(readers, 300)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert wait_until(lambda: not readers(), 300)
    hello.run("ps")
    assert [
        path for place in ("disks", "checkpoints") for path in (store.data / place).glob(".staged-*")
    ] == []
    assert [key for key in store.checkpoint_keys() if key.startswith("raw-")] == [
        key for key in before if key.startswith("raw-")
    ]
    assert "torn:latest" not in store.tags()


def test_a_disk_that_is_damaged_or_full_of_somebody_elses_files(hello: Program, tmp_path: Path) -> None:
    tool("qemu-img", "create", "-f", "qcow2", tmp_path / "empty.qcow2", "64M")
    tool("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "empty.qcow2", tmp_path / "based.qcow2")
    done = hello.run("import", tmp_path / "based.qcow2", "-t", "x", check=False)
    assert done.returncode == 2
    assert "based.qcow2 is not a whole disk" in done.stderr
    assert "'empty.qcow2'" in done.stderr
    with (tmp_path / "empty.qcow2").open("r+b") as stream:
        stream.seek(40)
        stream.write(b"\xff" * 8)  # where its table of clusters is
    done = hello.run("import", tmp_path / "empty.qcow2", "-t", "x", check=False)
    assert done.returncode == 2
    assert "the disk empty.qcow2 is damaged" in done.stderr
