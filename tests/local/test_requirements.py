"""What the host must have, sources of bases, control groups, users and paths of machines."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.bases.package_sources import host_sources
from stoneware.platforms.local.host import cgroups, probes, requirements
from stoneware.platforms.local.machines.qemu.runner import Qemu
from stoneware.platforms.local.network import setup as router_setup
from stoneware.platforms.local.network.layout import Layout
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store import qgroups, quota
from stoneware.platforms.local.store.store import Store
from stoneware.untrusted.rooted_paths import mode_inside, open_inside

V1 = "32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1 += "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.fixture(autouse=True)
def nothing_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_FOUND", set())


def test_what_was_there_is_not_looked_for_again_but_what_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    there, looked = {"nft": "/sbin/nft"}, []

    def which(name: str) -> str | None:
        looked.append(name)
        return there.get(name)

    monkeypatch.setattr("stoneware.process.which", which)
    for _ in range(2):
        with pytest.raises(HostError, match="lacks dnsmasq"):
            requirements.check(["dnsmasq", "nft"])
    assert sorted(looked) == ["dnsmasq", "dnsmasq", "nft"]
    monkeypatch.setenv("PATH", "/elsewhere")
    there.clear()
    with pytest.raises(HostError, match="dnsmasq, nft"):
        requirements.check(["dnsmasq", "nft"])


def test_all_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoneware.process.which", lambda _: None)
    with pytest.raises(HostError) as caught:
        requirements.check(["dnsmasq", "nft", "mmdebstrap"])
    assert caught.value.exit_code == 3
    assert caught.value.resolution == "apt-get install -y mmdebstrap dnsmasq-base nftables"
    assert len(caught.value.details.splitlines()) == 3
    with pytest.raises(ValueError, match="not in the table"):
        requirements.check(["no such thing"])


def test_a_base_and_a_router_ask_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "stoneware.process.which", lambda name: None if name in ("mmdebstrap", "nft") else name
    )
    with pytest.raises(HostError, match=r"this computer lacks .*mmdebstrap"):
        bases.ensure_base(Store(tmp_path), "debian:12", progress=lambda _: None)
    with pytest.raises(HostError, match=r"this computer lacks .*nft"):
        router_setup.repair(Layout(tmp_path, "00000000"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"], "nothing was begun"


def test_a_virtual_machine_asks_before_a_disk_is_assembled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "stoneware.process.which", lambda name: None if name == "qemu-system-x86_64" else name
    )
    monkeypatch.delattr("stoneware.platforms.local.disks.disks.copy_disk")
    spec = MachineSpec("v1", "image:x", vm=True)
    with pytest.raises(HostError, match=r"this computer lacks qemu-system-x86_64"):
        Qemu().furnish(Store(tmp_path), None, spec, tmp_path)  # type: ignore[arg-type]


def test_mount_options_of_control_groups() -> None:
    hybrid = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    groups = cgroups.plan(cgroups.probe(hybrid, systemd=False), "m1", None, None)
    assert groups.options == "favordynmods,nsdelegate", "what the host has set stays"
    assert cgroups.probe(V2, systemd=False, controllers="").options == {"nsdelegate"}


def test_commands_ask_for_what_the_table_knows() -> None:
    known = {entry.name for entry in requirements.TABLE}
    for names in (
        requirements.MACHINE_TOOLS,
        requirements.STORE_TOOLS,
        requirements.BASE_TOOLS,
        requirements.NETWORK_TOOLS,
    ):
        assert set(names) <= known


@pytest.mark.parametrize(
    ("text", "size"), [("20G", 20 << 30), ("1.5T", 3 << 39), ("512MiB", 512 << 20), ("1024", 1024)]
)
def test_sizes(text: str, size: int) -> None:
    assert store_pool.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1G", "1X"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError):
        store_pool.parse_size(text)


def test_the_pool_is_no_bigger_than_the_disk(tmp_path: Path) -> None:
    assert 0 < store_pool.pool_size(tmp_path, None) <= store_pool.DEFAULT_SIZE
    with pytest.raises(InputError, match="too small"):
        store_pool.pool_size(tmp_path, "10M")


def test_only_debians_own_archive_counts(tmp_path: Path) -> None:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    (tmp_path / "etc/apt/sources.list").write_text(
        "deb http://mirror.example/debian bookworm main contrib # ours\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb [signed-by=/etc/other.gpg] http://other.example/debian bookworm main\n"
        "deb http://tools.example/apt bookworm main\n"
        "deb http://mirror.example/debian trixie main\n"
    )
    (tmp_path / "etc/apt/sources.list.d/x.sources").write_text(
        "Types: deb deb-src\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n"
        "Components: main stable\n\nEnabled: no\nTypes: deb\nURIs: http://off.example/debian\n"
        "Suites: bookworm\nComponents: main\n"
    )
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert host_sources("bookworm", tmp_path) == [
        f"deb {signed} http://mirror.example/debian bookworm main contrib",
        f"deb {signed} http://mirror.example/debian-security bookworm-security main",
    ]
    assert host_sources("trixie", tmp_path) == []


def test_control_groups_of_each_kind_of_host() -> None:
    legacy = cgroups.probe(V1, systemd=False)
    plan = cgroups.plan(legacy, "m1", 1 << 28, 0.5)
    assert (plan.kind, plan.prefix) == ("v1", ())
    assert [(str(path), value) for path, value in plan.settings] == [
        ("/sys/fs/cgroup/memory/stoneware/m1/memory.limit_in_bytes", str(1 << 28)),
        ("/sys/fs/cgroup/cpu,cpuacct/stoneware/m1/cpu.cfs_period_us", "100000"),
        ("/sys/fs/cgroup/cpu,cpuacct/stoneware/m1/cpu.cfs_quota_us", "50000"),
    ]
    counted = cgroups.plan(replace(legacy, v1=(*legacy.v1, ("pids", Path("/p")))), "m1", None, None, 99)
    assert counted.settings == ((Path("/p/stoneware/m1/machine/pids.max"), "99"),)
    assert counted.pids_v1 == Path("/p/stoneware/m1/machine")
    unified_host = cgroups.probe(V2, systemd=False, controllers="cpu memory")
    unified = cgroups.plan(unified_host, "m1", 1 << 28, 2)
    assert unified.kind == "v2"
    assert "memory.max 268435456" in unified.limits
    assert "cpu.max 200000 100000" in unified.limits
    for systemd in (True, False):
        host = cgroups.probe(V2, systemd=systemd, controllers="cpu memory pids")
        assert cgroups.plan(host, "m1", None, None).limits == ("machine/pids.max 4096",)
        assert cgroups.plan(host, "m1", None, None, -1).limits == ()
    with pytest.raises(HostError, match="no control group for pids"):
        cgroups.plan(unified_host, "m1", None, None, 100)
    booted = cgroups.probe(V2, systemd=True, controllers="cpu memory")
    unit = cgroups.plan(booted, "m1", 1 << 28, 2)
    assert (unit.kind, unit.prefix[0], unit.v1) == ("unit", "systemd-run", ())
    assert {"--property=Delegate=yes", "--property=MemoryMax=268435456"} <= set(unit.prefix)
    assert cgroups.outlive(booted, "x")[0] == "systemd-run"
    assert cgroups.outlive(unified_host, "x") == ()
    hybrid = cgroups.plan(cgroups.probe(V1, systemd=True), "m1", 1 << 28, 0.5)
    assert (hybrid.kind, hybrid.settings) == ("v1-unit", plan.settings)
    assert hybrid.prefix[0] == "systemd-run"
    locked = cgroups.probe(V1.replace(" rw -", " ro -"), systemd=True)
    assert locked.v1 == ()
    for lacking in (locked, cgroups.probe(V2, systemd=True, controllers="cpu")):
        with pytest.raises(HostError, match="no control group for memory"):
            cgroups.plan(lacking, "m1", 1 << 28, None)


def test_paths_never_leave_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("of the root")
    (root / "absolute").symlink_to("/real")
    (root / "up").symlink_to("../../../../etc")
    (root / "loop").symlink_to("loop")
    (root / "torn").symlink_to("nothing")
    (tmp_path / "x").touch()
    for path in ("/up/passwd", "../../etc/passwd", "absolute/../../etc/passwd"):
        descriptor = open_inside(root, path, os.O_RDONLY)
        assert os.read(descriptor, 100) == b"of the root"
        os.close(descriptor)
    with pytest.raises(OSError, match="symbolic links"):
        open_inside(root, "/loop", os.O_RDONLY)
    kinds = [stat.S_IFMT(mode_inside(root, path)) for path in ("absolute", "up/passwd", "torn", "loop")]
    assert kinds == [stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFLNK]
    assert [mode_inside(root, path) for path in ("../x", "none", "etc/passwd/x", "x" * 5000)] == [0] * 4


def test_where_quotas_are_not_shown_no_command_switches_them_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pool.btrfs").touch()
    (tmp_path / "data/machines").mkdir(parents=True)
    monkeypatch.setattr(qgroups, "_SYSFS", tmp_path / "none")
    monkeypatch.setenv("STONEWARE_HOME", str(tmp_path))
    assert quota.prepare(tmp_path, tmp_path / "data") == ""
    assert "does not show /sys/fs/btrfs" in probes.limits()


def test_what_keeps_machines_apart_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` says where this computer lacks a wall, of docs/security.md."""
    names = {each.name for each in requirements.TABLE}
    assert {"store walls", "limits", "process limits", "nftables for ports", "user namespaces"} <= names
    monkeypatch.setenv("STONEWARE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tmp_path.chmod(0o755)
    assert probes.store_walls() == "", "there is no store yet"
    (tmp_path / "version").write_text("1\n")
    assert f"{tmp_path} has mode 0755" in probes.store_walls()
    tmp_path.chmod(0o700)
    assert probes.store_walls() == ""
    for unified, controllers, words in (
        (True, "cpu pids", "pids controller"),
        (True, "cpu", "none (this kernel"),
    ):
        host = cgroups.HostGroups(unified, systemd=False, v1=(), controllers=frozenset(controllers.split()))
        monkeypatch.setattr(cgroups, "probe", lambda host=host: host)
        assert probes.process_limits().startswith(words)
