"""The operator stands in, or bakes, a directory of another user of the host: nothing in it is run as root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.bake import git_worktree
from stoneware.bake.git_origin import read_origin
from stoneware.errors import InputError
from tests.attacks.test_left_behind import until
from tests.local.engine_lab import Bench

SOMEBODY = 4321


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout of another user whose configuration has Git run a program for each changed file."""
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(0o755)
    made = tmp_path / "checkout"
    made.mkdir()
    (made / ".gitattributes").write_text("* filter=attack\n")
    (made / "Machinefile").write_text("FROM debian:12\n")
    git(made, "init", "-q")
    git(made, "add", "-A")
    git(made, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "first")
    git(made, "config", "filter.attack.clean", f"{{ id -u; cut -d' ' -f6 /proc/$$/stat; }} >>{made}/ran; cat")
    (made / "Machinefile").write_text("FROM debian:13\n")
    return made


def git(where: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=where, check=True, stdin=subprocess.DEVNULL)


def give(path: Path) -> None:
    subprocess.run(["chown", "-R", "--no-dereference", f"{SOMEBODY}:{SOMEBODY}", path], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.mark.tool
@needs_root
def test_programs_that_a_checkout_names_run_as_its_owner_without_our_terminal(checkout: Path) -> None:
    give(checkout)
    origin = read_origin(checkout, lambda _path: True, ())
    assert origin.commit
    assert origin.dirty
    users, sessions = (set((checkout / "ran").read_text().split()[part::2]) for part in (0, 1))
    assert users == {str(SOMEBODY)}
    assert str(os.getsid(0)) not in sessions  # whose terminal it could type into


@pytest.mark.tool
@needs_root
@pytest.mark.parametrize("theirs", [".", ".git"])
def test_a_checkout_of_two_owners_is_not_asked(checkout: Path, theirs: str) -> None:
    os.chown(checkout / theirs, SOMEBODY, SOMEBODY)
    (checkout / "ran").touch(mode=0o666)
    (checkout / "ran").chmod(0o666)
    assert read_origin(checkout, lambda _path: True, ()).commit is None
    assert (checkout / "ran").read_text() == ""


@pytest.mark.tool
def test_a_checkout_that_never_answers(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_worktree, "_PATIENCE", 0.3)
    git(checkout, "config", "filter.attack.clean", "sleep 5; cat")
    with pytest.raises(InputError, match=r"does not answer within 0\.3 seconds"):
        read_origin(checkout, lambda _path: True, ())


@pytest.mark.tool
def test_a_checkout_whose_answer_is_too_large(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_worktree, "_MOST_ANSWER", 10)
    git(checkout, "config", "--unset", "filter.attack.clean")
    with pytest.raises(InputError, match="says more than"):
        read_origin(checkout, lambda _path: True, ())


@pytest.mark.machine
def test_nothing_of_the_current_directory_is_imported_for_a_machine(lab: Bench, tmp_path: Path) -> None:
    """What a machine leaves to do at its end runs as root, long after the command."""
    package = tmp_path / "stoneware"
    package.mkdir()
    for module in (package / "__init__.py", tmp_path / "json.py", tmp_path / "runpy.py"):
        module.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from stoneware.model.machine import MachineSpec\n"
        "from stoneware.platforms.local.platform import LocalPlatform\n"
        "from stoneware.platforms.local.store.store import Store\n"
        "platform = LocalPlatform(Store.open(Path(sys.argv[1])))\n"
        "platform.create(MachineSpec(sys.argv[2], sys.argv[3], remove_when_stopped=True))\n"
    )
    words = [sys.executable, "-P", "-c", code, str(lab.home), lab.name, f"checkpoint:{lab.base}"]
    subprocess.run(words, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    shim = lab.processes().shim
    assert shim is not None
    assert Path(f"/proc/{shim}/cwd").readlink() == Path("/")
    lab.booted()
    lab.platform.stop(lab.name)
    until(lambda: not lab.paths().root.exists(), "it is still there")
    assert not (tmp_path / "ran").exists()
