"""What machines need and an imported root file system lacks: installed in a builder that boots nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoneware.errors import BuildError
from stoneware.guest.packages import packages_script
from stoneware.model.machine import MachineSpec, Phase
from stoneware.platforms.local.bases import imported, packages
from stoneware.platforms.local.machines.nspawn import nspawn_argv
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.platforms.local.store.store import Store
from tests.local.test_imported_checks import whole_root
from tests.platforms.memory import MemoryPlatform

RAW = "raw-" + "0a" * 20
LACKS = {"curl": "curl", "init": "systemd-sysv", "ip": "iproute2"}
PACKAGES = "curl iproute2 systemd-sysv"


class Records(LocalImageStore):
    """A store whose checkpoints are records alone."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.saved: dict[str, dict[str, Any]] = {}

    def has_checkpoint(self, key: str) -> bool:
        return key in self.saved

    def checkpoint_document(self, key: str) -> dict[str, Any] | None:
        return self.saved.get(key)

    def touch_checkpoint(self, key: str) -> None:
        assert key in self.saved

    def save_checkpoint(
        self,
        key: str,
        rootfs: Path,
        document: Mapping[str, Any],
        *,
        taken: Callable[[], None] | None = None,
    ) -> None:
        assert (rootfs / "usr/bin/curl").is_file()
        self.saved[key] = dict(document)


class Builders(MemoryPlatform):
    """Machines that end with a code, after installing all but what is `left`."""

    def __init__(self, data: Path, code: int = 0, *, left: str = "", console: bytes = b"") -> None:
        super().__init__()
        self.specs: list[MachineSpec] = []
        self._data, self._code, self._left, self._said = data, code, left, console

    def boot(self, name: str) -> None:
        found = self.observe(name)
        assert found is not None
        self.specs.append(found.spec)
        root = self._data / "machines" / name / "rootfs"
        shutil.rmtree(root, ignore_errors=True)
        whole_root(root)
        if self._left:
            (root / self._left).unlink()
        self._consoles[name] = self._said
        self.show(name, phase=Phase.STOPPED, exit_code=self._code)


@pytest.fixture
def store(tmp_path: Path) -> Records:
    made = Records(tmp_path)
    made.saved[RAW] = {"imported": "rootfs.tar", "lacks": LACKS}
    return made


def quiet(_: str) -> None:
    """Tell nobody."""


def test_they_are_installed_once(store: Records) -> None:
    machines, told = Builders(store.data), list[str]()
    key = packages.ensure(store, machines, RAW, LACKS, told.append)
    assert key == packages.key_of(RAW, LACKS)
    assert told == [f"apt-get install {PACKAGES} (once)"]
    assert store.saved[key]["packages"] == ["curl", "iproute2", "systemd-sysv"]
    (spec,) = machines.specs
    assert (spec.source, spec.kind, spec.runs_script) == (f"checkpoint:{RAW}", "builder", True)
    assert set(spec.files) == {"script", "ca.pem"}
    assert machines.machines() == []
    assert list((store.home / "locks/builds").iterdir()) == []
    # The second time no machine is asked for.
    assert packages.ensure(store, Builders(store.data, 1), RAW, LACKS, told.append) == key


@pytest.mark.parametrize(
    ("machines", "words"),
    [
        (
            {"code": 100, "console": b"Err:1 http://mirror.example\r\nE: Unable to locate package curl\r\n"},
            f"apt-get install {PACKAGES} has failed, with the package sources of that system:\n"
            "Err:1 http://mirror.example\nE: Unable to locate package curl",
        ),
        (
            {"left": "usr/bin/curl"},
            f"apt-get has installed {PACKAGES}, and still there is no curl.",
        ),
    ],
)
def test_a_failure_says_what_and_what_to_type(store: Records, machines: dict[str, Any], words: str) -> None:
    made = Builders(store.data, **machines)
    with pytest.raises(BuildError) as caught:
        packages.ensure(store, made, RAW, LACKS, quiet)
    error = caught.value
    assert str(error) == (
        "what was imported lacks what machines need, and it cannot be installed: curl, init, ip"
    )
    assert error.details == words
    assert error.resolution.startswith(f"apt-get update && apt-get install {PACKAGES} ")
    assert (made.machines(), set(store.saved)) == ([], {RAW})
    assert list((store.home / "locks/builds").iterdir()) == []


def test_what_is_shown_of_a_failure_is_bounded(store: Records) -> None:
    with pytest.raises(BuildError) as caught:
        packages.ensure(
            store, Builders(store.data, 1, console=b"x" * 100_000 + b"\n" * 50), RAW, LACKS, quiet
        )
    assert len(caught.value.details) < 1000
    said = b"".join(b"%d %b\n" % (number, b"y" * 600) for number in range(100))
    with pytest.raises(BuildError) as caught:
        packages.ensure(store, Builders(store.data, 1, console=said), RAW, LACKS, quiet)
    lines = caught.value.details.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [str(number) for number in range(88, 100)]
    assert max(map(len, lines)) == 300


def test_a_builder_that_does_not_end_is_given_up(store: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Builders):
        helped = 0

        def boot(self, name: str) -> None:
            pass

        def check_helpers(self) -> None:
            self.helped += 1

    seconds = iter(range(10_000))  # each look at the clock takes one
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=lambda _: None, time=lambda: 0.0)
    monkeypatch.setattr(packages, "time", clock)
    machines = Endless(store.data)
    with pytest.raises(BuildError, match="not installed after 30 minutes"):
        packages.ensure(store, machines, RAW, LACKS, quiet)
    assert machines.helped > 0
    assert machines.machines() == []


def test_of_two_that_want_the_same_one_waits(store: Records) -> None:
    key, waits, told, found = packages.key_of(RAW, LACKS), threading.Event(), list[str](), list[str]()

    def tell(text: str) -> None:
        told.append(text)
        waits.set()

    def second() -> None:
        found.append(packages.ensure(store, Builders(store.data, 1), RAW, LACKS, tell))

    with store.lock("bases", key):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(300)
        assert found == []
        store.saved[key] = {}
    thread.join(300)
    assert (found, told) == ([key], ["waiting for another command that installs them"])


def test_a_base_is_another_one_with_other_packages(store: Records) -> None:
    reference = f"imported:{RAW.removeprefix('raw-')}"
    keys = []
    for lacks in (LACKS, {"curl": "curl"}, {}):
        store.saved[RAW]["lacks"] = lacks
        assert store.base_identity(reference) is None
        keys.append(imported._identity(RAW, lacks))
        store.saved[keys[-1]] = {}
        assert store.base_identity(reference) == keys[-1]
    assert len(set(keys)) == 3
    # As before it was known what is lacking: bases of earlier imports stay what they are.
    del store.saved[RAW]["lacks"]
    assert store.base_identity(reference) == keys[-1]


def test_what_a_bake_shows(store: Records) -> None:
    reference = f"imported:{RAW.removeprefix('raw-')}"
    assert store.base_title(reference) == "install what machines need: curl, iproute2, systemd-sysv"
    store.saved[packages.key_of(RAW, LACKS)] = {}
    assert store.base_title(reference) == "base from what was imported"
    assert store.base_title("debian:12") == "base debian:12"


def test_a_script_is_the_first_process(tmp_path: Path) -> None:
    spec = MachineSpec("b-0", f"checkpoint:{RAW}", kind="builder", metadata={"stoneware-mode": "script"})
    argv = nspawn_argv(cast("Any", Store(tmp_path)), Paths(tmp_path), spec, "m1")
    assert argv[-2:] == ["/bin/sh", "/run/stoneware/files/script"]
    assert "--as-pid2" in argv
    assert f"--bind-ro={tmp_path}/files:/run/stoneware/files:idmap,norbind" in argv
    assert not [word for word in argv if word.startswith("--setenv=SYSTEMD_UNIT")]
    # As confined as any machine.
    assert {"--private-users=pick", "--private-network", "--register=no"} <= set(argv)
    # Nobody else gets that: a machine's attributes are its user's.
    assert not MachineSpec("m", "image:x", metadata={"stoneware-mode": "script"}).runs_script


def test_names_of_packages_are_words_to_the_shell() -> None:
    assert packages_script(["curl", "dbus"]).startswith("PACKAGES='curl dbus'\n#!/bin/sh\n")
