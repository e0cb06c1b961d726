"""Packages in a bake: what they enable starts only where there is no CMD, and nothing starts meanwhile."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from stoneware.guest import install
from tests.guest.bakes import Bake
from tests.guest.support import FakeMetadata, Root, finish

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]

SYSTEMD = "etc/systemd/system"
GUEST = Path(install.__code__.co_filename).parent
# Unit: how it came to be enabled.
UNITS = {"web": "package", "both": "package and step", "off": "disabled", "gone": "purged", "own": "step"}


def dpkg(root: Root, *commands: str) -> str:
    """Return what a step does that has dpkg run commands of packages."""
    hook = f"SW_ROOT={shlex.quote(str(root.path))} sh run/stoneware/package-hook"
    return "; ".join([f"{hook} before", *commands, f"{hook} after"])


def enable(name: str, target: str = "multi-user") -> str:
    return f"ln -s /usr/lib/systemd/system/{name} {SYSTEMD}/{target}.target.wants/{name}"


def services(found: Bake) -> dict[str, tuple[str, str]]:
    rows = [line.split("\t") for line in found.results()["services.tsv"].decode().splitlines()]
    return {name: (by, starts) for name, by, starts in rows}


def install_packages(found: Bake, root: Root) -> None:
    (root.path / SYSTEMD / "timers.target.wants").mkdir(exist_ok=True)
    for name in UNITS:
        root.put(f"usr/lib/systemd/system/{name}.service", "[Service]\n")
    root.put("usr/lib/systemd/system/web.timer", "[Timer]\n")
    for name in ("old", "older", "web"):
        root.put(f"etc/init.d/{name}", "#!/bin/sh\n", 0o755)
    for level in "2345":
        (root.path / f"etc/rc{level}.d").mkdir(exist_ok=True)
    scripts = [f"ln -s ../init.d/{n} etc/rc{i}.d/S01{n}" for n in ("old", "older", "web") for i in "2345"]
    units = [enable(f"{name}.service") for name in ("web", "both", "off", "gone")]
    found.run_step(dpkg(root, *units, enable("web.timer", "timers"), *scripts))
    # What systemctl and update-rc.d do for steps.
    aside = f"{SYSTEMD}/stoneware-package.multi-user.target.wants"
    found.run_step(
        f"test ! -e {SYSTEMD}/multi-user.target.wants/web.service && test -L {aside}/web.service || exit 1; "
        f"rm {aside}/off.service usr/lib/systemd/system/gone.service; {enable('own.service')}; "
        f"{enable('both.service')}; "
        "for i in 3 4 5; do mv etc/rc$i.d/K01older etc/rc$i.d/S01older || exit 1; done"
    )


def wants(root: Root, target: str = "multi-user") -> set[str]:
    names = {path.name for path in (root.path / SYSTEMD / f"{target}.target.wants").iterdir()}
    return {name for name in names if not name.startswith(("stoneware", "systemd-", "dbus"))}


def test_with_a_cmd_what_packages_enabled_does_not_start(bake: Bake, root: Root) -> None:
    install_packages(bake, root)
    root.put(f"{SYSTEMD}/main.service", "[Service]\n")
    bake.members["seal/root/usr/lib/stoneware/image/service"] = b"main.service\n"
    bake.bake()
    assert services(bake) == {
        "both.service": ("step", "yes"),
        "main.service": ("image", "yes"),
        "old.service": ("package", "no"),
        "older.service": ("step", "yes"),
        "own.service": ("step", "yes"),
        "web.service": ("package", "no"),
        "web.timer": ("package", "no"),
    }
    assert wants(root) == {"both.service", "main.service", "own.service"}
    assert wants(root, "timers") == set()
    assert list((root.path / "etc").glob("rc?.d/S01old")) == []
    assert len(list((root.path / "etc").glob("rc?.d/S01older"))) == 4
    assert (root.path / "usr/lib/stoneware/image/units").read_text().split() == [
        *("both.service", "main.service", "older.service", "own.service")
    ]
    assert (root.path / f"{SYSTEMD}/web.service.d/50-stoneware.conf").exists()  # it may be started by hand


def test_without_a_cmd_all_that_is_enabled_starts(
    bake: Bake,
    root: Root,
    metadata: FakeMetadata,
) -> None:
    install_packages(bake, root)
    bake.bake()
    expected = {
        "both.service": ("step", "yes"),
        "old.service": ("package", "yes"),
        "older.service": ("step", "yes"),
        "own.service": ("step", "yes"),
        "web.service": ("package", "yes"),
        "web.timer": ("package", "yes"),
    }
    assert services(bake) == expected
    assert wants(root) == {"both.service", "own.service", "web.service"}
    assert wants(root, "timers") == {"web.timer"}
    assert len(list((root.path / "etc").glob("rc?.d/S01old"))) == 4
    assert list((root.path / SYSTEMD).glob("stoneware-package.*")) == []
    # An image FROM this one that has a CMD: it is still known who enabled what.
    metadata.reports.clear()
    child = Bake(root, metadata)
    metadata.set(stoneware_manifest="")
    root.put(f"{SYSTEMD}/main.service", "[Service]\n")
    child.members["seal/root/usr/lib/stoneware/image/service"] = b"main.service\n"
    try:
        child.bake()
    finally:
        if child.process is not None:
            finish(child.process)
    held = {name for name, (_, starts) in services(child).items() if starts == "no"}
    assert held == {"old.service", "web.service", "web.timer"}
    assert list((root.path / "etc").glob("rc?.d/S01old")) == []


def test_the_policy_is_there_for_steps_only(bake: Bake, root: Root) -> None:
    root.put("etc/dpkg/dpkg.cfg.d/own", "")
    (root.path / "usr/sbin").mkdir()
    bake.run_step(
        "for a in start restart try-restart reload; do usr/sbin/policy-rc.d nginx.service $a; echo $?; done; "
        "usr/sbin/policy-rc.d --quiet nginx stop 2; echo $?; cat etc/dpkg/dpkg.cfg.d/stoneware-bake"
    )
    bake.run_step("printf '#!/bin/sh\\nexit 0\\n' >usr/sbin/policy-rc.d; ls etc/dpkg/dpkg.cfg.d")
    bake.run_step("usr/sbin/policy-rc.d nginx start; echo $?")
    bake.bake()
    hook = f"{root.path}/run/stoneware/package-hook"
    assert bake.lines(1) == [
        *["101"] * 4,
        "0",
        f"pre-invoke=[ ! -e {hook} ] || sh {hook} before",
        f"post-invoke=[ ! -e {hook} ] || sh {hook} after",
    ]
    assert bake.lines(2) == ["own", "stoneware-bake"]
    assert bake.lines(3) == ["0"]  # a policy of the image's own holds
    assert (root.path / "usr/sbin/policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"
    assert [path.name for path in (root.path / "etc/dpkg/dpkg.cfg.d").iterdir()] == ["own"]


def test_units_of_an_image_do_not_start_with_its_builder(root: Root) -> None:
    root.put("usr/lib/stoneware/base-units", "base.service\n")
    wanted = root.path / SYSTEMD / "multi-user.target.wants"
    for name in ("base.service", "own.service"):
        (wanted / name).symlink_to(f"/usr/lib/systemd/system/{name}")
    (root.path / "etc/rc3.d").mkdir()
    (root.path / "etc/rc3.d/S01old").symlink_to("../init.d/old")
    directories = [root.path / name for name in ("normal", "early", "late")]
    for directory in directories:
        directory.mkdir()
    script = GUEST / "build/units/generator.sh"
    subprocess.run(
        [*root.shell, script, *map(str, directories)],
        env={**os.environ, "SW_ROOT": str(root.path)},
        check=True,
    )
    made = {path.parent.name: path.read_text() for path in directories[1].glob("*/*.conf")}
    later = "[Unit]\nConditionPathExists=/run/stoneware/booted\n"
    assert {name: made[name] for name in ("own.service.d", "old.service.d")} == {
        "own.service.d": later,
        "old.service.d": later,
    }
    assert not {"base.service.d", "stoneware-boot.service.d"} & set(made)


def test_what_a_step_leaves_in_memory_is_told(bake: Bake, root: Root) -> None:
    root.put("usr/lib/tmpfiles.d/db.conf", 'd "/var/run/db" 0755 - -\n')
    (root.path / "dev/shm").mkdir(parents=True)
    bake.run_step("mkdir -p run/app/deep run/db dev/shm && : >run/app/f >dev/shm/x >run/a.pid >run/systemd.x")
    bake.run_step("mkdir run/systemd run/sudo run/runit; echo quiet")
    bake.run_step("rm -r run/app; mkdir -m 2750 'run/o k' run/kept; exit 0")
    bake.step("WORKDIR", path="/run/work", user="")
    bake.run_step("rmdir run/db; chmod 1777 run/work; : >run/kept/f")
    bake.members["seal/workdir"] = b"/tmp/a/b\n"
    bake.step("WORKDIR", path="/tmp/a/b", user="")
    bake.bake()
    text = bake.console.read_text()
    left = [line.partition(" left ")[2].split() for line in text.splitlines() if " left " in line]
    assert [[number, *sorted(paths)] for number, *paths in left] == [
        ["1", "/dev/shm/x", "/run/app/", "/run/app/f", "/run/systemd.x"],
        ["3", "/run/kept/", "/run/o", "k"],
        ["4", "/run/work/"],
        ["5", "/run/kept/f"],
    ]
    rules = (root.path / "usr/lib/tmpfiles.d/00-stoneware-steps.conf").read_text().splitlines()
    own = f"{os.getuid()} {os.getgid()}"
    assert rules == [
        f'd "/run/kept" 2750 {own}',
        f'd "/run/work" 1777 {own}',
        f'd "/tmp/a" 755 {own}',
        f'd "/tmp/a/b" 755 {own}',
    ]
