"""What is looked for in a root file system that somebody else has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.platforms.local.bases.imported import is_imported
from stoneware.platforms.local.bases.imported_checks import check_root
from stoneware.platforms.local.host.architecture import architecture

ARCHIVE = Path("/srv/rootfs.tar")
NUMBERS = {"amd64": 62, "arm64": 183}
LACKING = {"curl": "curl", "dbus.service": "dbus", "ip": "iproute2", "udevadm": "udev"}
PROGRAMS = ("awk", "apt-get", "curl", "dbus-daemon", "dpkg", "sh", "udevadm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return whole_root(tmp_path / "root")


def whole_root(made: Path) -> Path:
    """Make what has all that is looked for."""
    for directory in ("usr/bin", "usr/sbin", "usr/lib/systemd/system"):
        (made / directory).mkdir(parents=True)
    for path in (*(f"usr/bin/{name}" for name in PROGRAMS), "usr/sbin/ip", "usr/lib/systemd/systemd"):
        program(made / path)
    (made / "usr/sbin/init").symlink_to("/usr/lib/systemd/systemd")
    (made / "usr/lib/systemd/system/dbus.service").touch()
    (made / "bin").symlink_to("usr/bin")
    return made


def program(path: Path, number: int | None = None) -> None:
    machine = NUMBERS[architecture()] if number is None else number
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little"))
    path.chmod(0o755)


def refused(root: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        check_root(root, ARCHIVE)
    return caught.value


def test_a_debian_is_taken(root: Path) -> None:
    assert check_root(root, ARCHIVE) == {}


def test_one_without_an_init_system(root: Path) -> None:
    (root / "usr/lib/systemd/systemd").unlink()
    error = refused(root)
    assert str(error) == "rootfs.tar is no root file system of a machine: there is no systemd in it"
    assert error.resolution.startswith("apt-get install systemd-sysv udev dbus")


def test_one_of_another_architecture(root: Path) -> None:
    program(root / "usr/lib/systemd/systemd", 243)
    assert str(refused(root)) == f"rootfs.tar is for riscv64, and this computer is {architecture()}"
    (root / "usr/lib/systemd/systemd").write_text("#!/bin/sh\n")
    assert str(refused(root)).startswith("rootfs.tar is for another kind of computer,")


def test_what_is_missing_and_can_be_installed_is_told_with_its_packages(root: Path) -> None:
    for path in ("usr/bin/curl", "usr/bin/udevadm", "usr/lib/systemd/system/dbus.service"):
        (root / path).unlink()
    (root / "usr/sbin/ip").chmod(0o644)
    assert check_root(root, ARCHIVE) == LACKING
    (root / "usr/sbin/init").unlink()
    assert check_root(root, ARCHIVE) == {**LACKING, "init": "systemd-sysv"}


@pytest.mark.parametrize(("name", "package"), [("sh", "dash"), ("apt-get", "apt"), ("dpkg", "dpkg")])
def test_nothing_can_be_installed_without(root: Path, name: str, package: str) -> None:
    (root / "usr/bin" / name).unlink()
    error = refused(root)
    assert str(error) == f"rootfs.tar lacks what machines need: {name}"
    assert error.resolution.startswith(f"apt-get install {package} ")
    (root / "usr/bin/curl").unlink()
    assert refused(root).resolution.startswith(f"apt-get install {' '.join(sorted([package, 'curl']))} ")


def test_another_bus_will_do(root: Path) -> None:
    units = root / "usr/lib/systemd/system"
    (units / "dbus.service").rename(units / "dbus-broker.service")
    assert check_root(root, ARCHIVE) == {}


def test_a_link_out_of_it_is_no_program(root: Path) -> None:
    (root / "usr/bin/curl").unlink()
    (root / "usr/bin/curl").symlink_to("../../../../../../../../bin/ls-of-the-host")
    assert check_root(root, ARCHIVE) == {"curl": "curl"}


def test_which_references_are_of_imports() -> None:
    assert is_imported("imported:" + "0a" * 20)
    assert not is_imported("imported:" + "0a" * 19)
    assert not is_imported("imported:" + "0A" * 20)
    assert not is_imported("debian:12")


def test_what_is_often_taken_for_one(root: Path, tmp_path: Path) -> None:
    (root.parent / "above").mkdir()
    root.rename(root.parent / "above/rootfs")
    error = refused(root.parent / "above")
    assert str(error) == "rootfs.tar is an archive whose root file system is below rootfs"
    assert error.resolution.startswith("tar -C rootfs -cf rootfs.tar .")
    for names in (("oci-layout", "blobs"), ("manifest.json", "repositories")):
        image = tmp_path / names[0]
        image.mkdir()
        for name in names:
            (image / name).touch()
        error = refused(image)
        assert "`docker save`" in str(error)
        assert "docker export" in error.resolution


def test_another_distribution(root: Path) -> None:
    for name in ("apt-get", "dpkg"):
        (root / "usr/bin" / name).unlink()
    error = refused(root)
    assert str(error) == "rootfs.tar is no Debian, and no system that derives from it"
    assert "apt-get install" not in error.resolution
