"""Copies into and out of machines that run or not: tar here stands for the machine's own."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines import inside, view
from stoneware.platforms.local.machines.copy import copy_in, copy_out
from stoneware.platforms.local.machines.record import Paths
from tests.local.runner_here import HereRunner

pytestmark = pytest.mark.pure


class Machine:
    """A machine whose files are below `root`: that is its / while it is off; while it runs paths are real."""

    def __init__(self, home: Path, root: Path, *, running: bool) -> None:
        self.home, self.root, self.running = home, root, running
        self.paths = Paths(home / "data/machines/m1")

    def at(self, path: str) -> str:
        return f"{self.root}{path}" if self.running else path

    def out(self, path: str, destination: Path) -> list[str]:
        return copy_out(self.home, self.paths, self.at(path), destination)

    def into(self, source: Path | str, path: str) -> None:
        copy_in(source, self.paths, self.at(path))


@pytest.fixture(params=[True, False], ids=["running", "off"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    root = tmp_path / "root"
    (root / "srv/app").mkdir(parents=True)
    (root / "srv/app/one").write_text("1")
    (root / "srv/app/link").symlink_to("one")
    runner = HereRunner(root)
    for module in (inside, view):
        monkeypatch.setattr(module, "runner_of", lambda _: runner)
    leader = 1 if request.param else None
    monkeypatch.setattr(view, "shown_processes", lambda _: SimpleNamespace(leader=leader))
    (tmp_path / "home").mkdir()
    return Machine(tmp_path / "home", root, running=request.param)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    found = tmp_path / "here"
    found.mkdir()
    return found


def test_a_file_comes_out(machine: Machine, here: Path) -> None:
    assert machine.out("/srv/app/one", here) == []
    assert (here / "one").read_text() == "1"
    machine.out("/srv/app/one", here / "other")
    assert (here / "other").read_text() == "1"
    machine.out("/srv/app/link", here)
    assert str((here / "link").readlink()) == "one"


def test_a_directory_comes_out_by_its_name_or_its_content(machine: Machine, here: Path) -> None:
    machine.out("/srv/app", here)
    assert (here / "app/one").read_text() == "1"
    assert str((here / "app/link").readlink()) == "one"
    machine.out("/srv/app/.", here / "content")
    assert (here / "content/one").read_text() == "1"


def test_what_is_no_file_is_left_out_and_told(machine: Machine, here: Path) -> None:
    os.mkfifo(machine.root / "srv/app/fifo")
    [told] = machine.out("/srv/app", here)
    assert "fifo" in told
    assert {path.name for path in (here / "app").iterdir()} == {"link", "one"}
    with pytest.raises(MachineError, match="cannot be copied"):
        machine.out("/srv/app/fifo", here)
    assert [path.name for path in here.iterdir()] == ["app"]


def test_what_cannot_be_copied_out_is_said(machine: Machine, here: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        machine.out("/srv/none", here)
    with pytest.raises(InputError, match="there is no directory"):
        machine.out("/srv/app/one", here / "none/one")
    (here / "file").write_text("x")
    with pytest.raises(InputError, match="is not a directory"):
        machine.out("/srv/app/.", here / "file")


def test_files_and_directories_go_in(machine: Machine, here: Path) -> None:
    (here / "tree/sub").mkdir(parents=True)
    (here / "tree/sub/file").write_text("f")
    (here / "a,b&c").write_text("odd")
    machine.into(here / "tree", "/srv")
    assert (machine.root / "srv/tree/sub/file").read_text() == "f"
    machine.into(f"{here}/tree/.", "/srv/app")
    assert (machine.root / "srv/app/sub/file").read_text() == "f"
    machine.into(here / "tree/sub/file", "/srv/new,name")
    assert (machine.root / "srv/new,name").read_text() == "f"
    machine.into(here / "a,b&c", "/srv/app")
    assert (machine.root / "srv/app/a,b&c").read_text() == "odd"


def test_what_cannot_go_in_is_said(machine: Machine, here: Path) -> None:
    (here / "tree").mkdir()
    with pytest.raises(InputError, match="there is no"):
        machine.into(here / "none", "/srv")
    with pytest.raises(InputError, match="there is no directory"):
        machine.into(here / "tree", "/none/tree")
    with pytest.raises(InputError, match="is not a directory"):
        machine.into(here / "tree", "/srv/app/one")
    with pytest.raises(InputError, match="there is no directory"):
        machine.into(here / "tree", "/srv/none/")
