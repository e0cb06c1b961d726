"""The generator that runs others of systemd's: those that have something to do, and no others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest.support import GUEST, Root

pytestmark = pytest.mark.tool
HIDDEN, REAL = "etc/systemd/system-generators", "usr/lib/systemd/system-generators"
NAMES = ("cryptsetup", "fstab", "rc-local", "sysv")


@pytest.fixture
def ran(root: Root) -> Callable[[], list[str]]:
    """Run the generator in a container whose image asks for nothing; return which others it has run."""
    for name in NAMES:
        root.put(f"{REAL}/systemd-{name}-generator", '#!/bin/sh\necho "${0##*/} $*"\n', 0o755)
    root.put("run/systemd/container", "systemd-nspawn\n")
    root.put("etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n\n")
    root.put("etc/init.d/README", "not a script\n")
    root.put("etc/init.d/nginx", "#!/bin/sh\n", 0o755)
    root.put("usr/lib/systemd/system/nginx.service", "[Service]\n")
    root.put("etc/init.d/hwclock.sh", "#!/bin/sh\n", 0o755)
    (root.path / "usr/lib/systemd/system/hwclock.service").symlink_to("/dev/null")

    def run() -> list[str]:
        done = subprocess.run(
            [*root.shell, GUEST / "stoneware-generator.sh", "normal", "early", "late"],
            env=root.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
        assert all(arguments == "normal early late" for _, arguments in lines)
        return [name.removeprefix("systemd-").removesuffix("-generator") for name, _ in lines]

    return run


def test_a_machine_without_their_files_starts_none(ran: Callable[[], list[str]]) -> None:
    assert ran() == []


@pytest.mark.parametrize(
    ("path", "mode", "expected"),
    [
        ("etc/crypttab", 0o644, ["cryptsetup"]),
        ("etc/fstab", 0o644, ["fstab"]),
        ("etc/rc.local", 0o755, ["rc-local"]),
        ("etc/rc.local", 0o644, []),
        ("etc/init.d/old", 0o755, ["sysv"]),
        ("etc/init.d/old", 0o644, []),
    ],
)
def test_each_runs_where_its_file_is(
    root: Root, ran: Callable[[], list[str]], path: str, mode: int, expected: list[str]
) -> None:
    root.put(path, "# a comment\n tmpfs /srv tmpfs", mode)
    assert ran() == expected


def test_outside_of_containers_all_run(root: Root, ran: Callable[[], list[str]]) -> None:
    (root.path / "run/systemd/container").unlink()
    assert ran() == list(NAMES)


def test_what_the_image_put_in_their_place_is_left_to_systemd(
    root: Root, ran: Callable[[], list[str]]
) -> None:
    root.put("etc/crypttab", "")
    hidden = root.path / HIDDEN / "systemd-cryptsetup-generator"
    assert Path(hidden.readlink()) == Path("/dev/null")
    hidden.unlink()
    root.put(f"{HIDDEN}/systemd-cryptsetup-generator", "#!/bin/sh\n", 0o755)
    assert ran() == []


def test_a_builder_starts_none_that_it_hides(root: Root, ran: Callable[[], list[str]]) -> None:
    root.put("etc/crypttab", "")
    generators = root.path / "run/stoneware/units/generators"
    generators.mkdir(parents=True)
    (generators / "systemd-cryptsetup-generator").symlink_to("/dev/null")
    assert ran() == []
