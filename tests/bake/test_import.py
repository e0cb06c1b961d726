"""Root file systems from elsewhere become images: `stoneware import`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.images import LocalImageStore
from tests.bake.conftest import Context

# Half of a minimal Debian's files; no machine needs them.
SPARE = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/zoneinfo", "var/lib/apt/lists")


@pytest.fixture
def archive(context: Context, machine_home: Path) -> Path:
    """Return a Debian as it comes from elsewhere, with nothing of ours in it."""
    store = LocalImageStore.open(machine_home)
    return archived(context, store.checkpoint_rootfs(raw_of(store)))


@pytest.fixture
def lacking(context: Context, machine_home: Path) -> Path:
    """Return one without some packages that machines need."""
    store = LocalImageStore.open(machine_home)
    with store.staging(store.data / "checkpoints") as staged:
        root = staged / "rootfs"
        btrfs.snapshot(store.checkpoint_rootfs(raw_of(store)), root, read_only=False)
        purge = ["chroot", str(root), "dpkg", "--purge", "--force-depends", "curl", "iproute2"]
        subprocess.run(purge, check=True, stdout=subprocess.DEVNULL)
        (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
        return archived(context, root)


def raw_of(store: LocalImageStore) -> str:
    return str((store.checkpoint_document(store.base_identity("debian:12") or "") or {})["raw"])


def archived(context: Context, root: Path) -> Path:
    made = context.path / "debian.tar"
    (context.path / "etc").mkdir()
    (context.path / "etc/foreign").write_text(context.stamp)
    tar = ["tar", "--create", "--file", str(made), "--xattrs", "--xattrs-include=*", "--numeric-owner"]
    tar += [f"--exclude=./{place}/*" for place in SPARE]
    subprocess.run([*tar, "-C", str(root), ".", "-C", str(context.path), "etc/foreign"], check=True)
    return made


def files(root: Path) -> dict[str, str]:
    """Return an image's list of files, by path."""
    lines = (root / "usr/lib/stoneware/image/files.tsv").read_text().splitlines()
    return {line.split("\t")[6]: line for line in lines}


@pytest.mark.machine
def test_a_root_file_system_becomes_an_image_that_boots_and_can_be_built_from(
    context: Context, archive: Path
) -> None:
    words = ("import", str(archive), "-t", context.name, "-c", 'CMD ["sleep", "infinity"]', "--json")
    first = json.loads(context.run(*words)[0])
    assert first["tags"] == [f"{context.name}:latest"]
    assert first["commit"] is None
    assert json.loads(context.run(*words)[0])["image_id"] == first["image_id"]
    root = context.rootfs(first)
    assert (root / "etc/foreign").read_text() == context.stamp
    assert (root / "usr/bin/su").stat().st_mode & 0o7777 == 0o4755
    assert (root / "etc/machine-id").read_bytes() in (b"", b"uninitialized\n")
    context.run("export", context.name, "-o", "exported.tar")
    again = json.loads(context.run("import", "exported.tar", *words[2:])[0])
    lists = [files(context.rootfs(each)) for each in (first, again)]
    assert again["image_id"] != first["image_id"]
    assert lists[0].keys() == lists[1].keys()
    told = {"/usr/lib/os-release", "/usr/lib/stoneware/image/version"}  # which image it is
    told.add(f"/etc/systemd/system/{context.name}.service")
    assert {path for path, line in lists[0].items() if line != lists[1][path]} == told
    machine = f"m-{context.name}"
    try:
        context.run("run", "-d", "--wait", "--name", machine, context.name)
        assert context.run("exec", machine, "cat", "/etc/foreign")[0] == context.stamp
        assert context.run("exec", machine, "systemctl", "is-system-running")[0] == "running\n"
    finally:
        context.run("rm", "-f", machine)
    context.write({"Machinefile": f"FROM {context.name}\nRUN cat /etc/foreign >/copied\n"})
    child = json.loads(context.run("bake", "-t", f"{context.name}-child", "--json", ".")[0])
    assert (context.rootfs(child) / "copied").read_text() == context.stamp


@pytest.mark.machine
def test_what_machines_need_is_installed_by_the_bake(context: Context, lacking: Path) -> None:
    words = ("import", str(lacking), "-t", context.name, "-c", 'CMD ["sleep", "infinity"]')
    out, err = context.run(*words, "--progress", "plain", "--json")
    result = json.loads(out)
    lines = err.splitlines()
    told = lines.index("it lacks what machines need: curl, ip; the bake installs that")
    shown = lines.index("apt-get install curl iproute2 (once)")
    assert lines[shown - 1].endswith("install what machines need: curl, iproute2")
    assert told < shown < next(n for n, line in enumerate(lines) if "[builder-0]" in line)
    root = context.rootfs(result)
    assert (root / "usr/bin/curl").is_file()
    assert (root / "etc/foreign").read_text() == context.stamp
    # Nothing but packages has come to it, also where that is not the seal's doing.
    found = (context.home / "data/checkpoints").glob("packages-*/rootfs/etc/foreign")
    (layer,) = [path.parents[1] for path in found if path.read_text() == context.stamp]
    assert (layer / "etc/resolv.conf").readlink() == Path("../run/systemd/resolve/stub-resolv.conf")
    assert not [*layer.glob("etc/*stoneware*"), *layer.glob("usr/sbin/policy-rc.d*"), *layer.glob("run/s*")]
    machine = f"m-{context.name}"
    try:
        context.run("run", "-d", "--wait", "--name", machine, context.name)
        assert context.run("exec", machine, "systemctl", "is-system-running")[0] == "running\n"
        assert context.run("exec", machine, "cat", "/etc/foreign")[0] == context.stamp
        # What was installed is whole, as far as dpkg knows.
        assert context.run("exec", machine, "dpkg", "--audit")[0] == ""
    finally:
        context.run("rm", "-f", machine)
    context.write({"Machinefile": f"FROM {context.name}\nRUN curl --version >/copied\n"})
    child = json.loads(context.run("bake", "-t", f"{context.name}-child", "--json", ".")[0])
    assert (context.rootfs(child) / "copied").read_text().startswith("curl ")
    # The second time it is all there.
    out, err = context.run(*words, "--progress", "plain", "--json")
    assert json.loads(out)["image_id"] == result["image_id"]
    assert "lacks" not in err
    assert "apt-get" not in err


@pytest.mark.machine
def test_what_is_no_machine_is_refused_and_leaves_nothing(context: Context) -> None:
    before = LocalImageStore.open(context.home).checkpoint_keys()
    (context.path / "root/bin").mkdir(parents=True)
    subprocess.run(["tar", "-C", "root", "-cf", "empty.tar", "."], cwd=context.path, check=True)
    (context.path / "torn.tar").write_bytes((context.path / "empty.tar").read_bytes()[:700])
    (context.path / "text.tar").write_text("no archive\n" * 100)
    _, err = context.run("import", "empty.tar", "-t", context.name, code=2)
    assert "empty.tar is no root file system of a machine: there is no systemd in it" in err
    _, err = context.run("import", "torn.tar", "-t", context.name, code=2)
    assert "the archive torn.tar ends in the middle of an entry" in err
    _, err = context.run("import", "text.tar", "-t", context.name, code=2)
    assert "text.tar is neither a tar archive nor a disk" in err
    _, err = context.run("import", "empty.tar", code=2)
    assert "the image has no name" in err
    _, err = context.run("import", "missing.tar", "-t", context.name, code=2)
    assert "'missing.tar'" in err
    assert LocalImageStore.open(context.home).checkpoint_keys() == before
    assert not [name for name in os.listdir(context.home / "data/checkpoints") if "staged" in name]  # noqa: PTH208
