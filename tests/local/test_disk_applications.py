"""Which files are an application's, so that another image's kernel fits."""

from __future__ import annotations

import pytest

from stoneware.platforms.local.disks.applications import Applications, owned_places

LISTS = (
    b"/.\n/usr\n/usr/share\n/usr/share/doc\n/usr/share/doc/tzdata\n/usr/share/doc/tzdata/copyright\n/etc\n/etc/cron.d\n",
    b"/opt\n/srv\n/home\n/var/lib/dpkg\n/etc/nginx\n/etc/nginx/nginx.conf\n/usr/share/nginx/html/index.html\n",
)


@pytest.fixture
def applications() -> Applications:
    return Applications(owned_places(LISTS), frozenset({"web.service"}))


@pytest.mark.parametrize(
    "path",
    [
        "app/server.jar",
        "srv/www/index.html",
        "opt/kafka",
        "home/me/.profile",
        "etc/stoneware/templates/etc/motd",
        "usr/share/changed",
        "usr/share/mine/a/b/c",
        "usr/local/share/mine",
        "usr/lib/stoneware/image/manifest.json",
        "var/lib/mine/data",
        "var/www/index.html",
        "etc/systemd/system/web.service",
        "etc/systemd/system/web.service.d/50-stoneware.conf",
    ],
)
def test_these_are_an_application_s(applications: Applications, path: str) -> None:
    assert applications.own(path, directory=False)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "opt",
        "boot/vmlinuz",
        "bin/sh",
        "lib/modules/6.1.0/x.ko",
        "lib64/x",
        "root/.profile",
        "vmlinuz",
        "file-at-the-top",
        ".hidden/x",
        "etc/passwd",
        "etc/fstab",
        "etc/initramfs-tools/hooks/mine",
        "etc/modprobe.d/mine.conf",
        "etc/sysusers.d/mine.conf",
        "etc/cron.d/mine",
        "etc/nginx/nginx.conf",
        "etc/nginx/conf.d/mine.conf",
        "etc/systemd/system/other.service",
        "etc/systemd/system/multi-user.target.wants/web.service",
        "etc/systemd/system-generators/mine",
        "etc/kernel/postinst.d/mine",
        "usr/bin/mine",
        "usr/local/bin/mine",
        "usr/local/share/ca-certificates/mine.crt",
        "usr/local/share/perl/5.36.0/Mine.pm",
        "usr/lib/mine",
        "usr/lib/stoneware/lib.sh",
        "usr/lib/udev/rules.d/mine.rules",
        "usr/share/doc/mine",
        "usr/share/nginx/html/mine.html",
        "usr/share/initramfs-tools/hooks/mine",
        "usr/share/perl5/Mine.pm",
        "var/lib/dpkg/status",
        "var/lib/mine-is-a-file",
        "var/log/mine",
        "var/cache/mine/x",
    ],
)
def test_these_may_matter_to_a_kernel_s_packages(applications: Applications, path: str) -> None:
    assert not applications.own(path, directory=False)


@pytest.mark.parametrize(
    "path", ["", "opt", "usr", "usr/share", "etc/systemd/system", "etc/mine.d", "var/log"]
)
def test_these_directories_may_matter_too(applications: Applications, path: str) -> None:
    assert not applications.own(path, directory=True)


@pytest.mark.parametrize("path", ["app", "etc/mine", "var/lib/mine", "var/www"])
def test_there_a_directory_is_an_application_s_and_a_file_is_not(
    applications: Applications, path: str
) -> None:
    assert applications.own(path, directory=True)
    assert not applications.own(path, directory=False)


def test_what_packages_own_is_known_by_the_beginning_of_its_path() -> None:
    owned = owned_places([b"/usr/share/doc/tzdata/copyright\n/etc/\xff\n"])
    assert {"usr", "usr/share", "usr/share/doc", "usr/share/doc/tzdata", "etc", "etc/\udcff"} <= owned
    assert all(path.count("/") < 4 for path in owned)
