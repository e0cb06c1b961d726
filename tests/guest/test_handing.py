"""Packing what other stages take: links on the way, owners, and nothing of ours."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.guest.support import GUEST, SHELLS

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]
PROGRAM = f'. {GUEST}/lib.sh\n. {GUEST}/build/handing.sh\npack_handed "$SW_ROOT/.stoneware-files.tar"\n'


def _packed(tmp_path: Path, shell: str, paths: str, **environment: str) -> dict[str, tarfile.TarInfo]:
    root, work = tmp_path / "root", tmp_path / "work"
    work.mkdir()
    (work / "handed").write_text(paths)
    done = subprocess.run(
        [*SHELLS[shell], "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "SW_ROOT": str(root), "WORK": str(work), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(root / ".stoneware-files.tar") as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "usr/lib/jvm/deep").mkdir(parents=True)
    (made / "usr/lib/jvm/java").write_text("x")
    os.chown(made / "usr/lib/jvm/java", 5, 6)
    (made / "opt").mkdir()
    (made / "opt/link").symlink_to("/usr/lib/jvm")
    (made / "opt/round").symlink_to("round")
    (made / ".stoneware-scratch").mkdir()
    (made / ".stoneware-scratch/only").write_text("x")
    (made / "side").write_text("x")
    return made


@pytest.mark.parametrize("shell", SHELLS)
def test_links_on_the_way_and_what_they_lead_to(tmp_path: Path, root: Path, shell: str) -> None:
    assert (root / "side").exists()
    found = _packed(tmp_path, shell, "/opt/link/java\n/opt/round\n/not/there\n/usr/lib/jvm/deep\n")
    assert sorted(found) == sorted(
        [
            *("./opt", "./opt/link", "./opt/round", "./usr", "./usr/lib"),
            *("./usr/lib/jvm", "./usr/lib/jvm/java", "./usr/lib/jvm/deep"),
        ]
    )
    assert (found["./usr/lib/jvm/java"].uid, found["./usr/lib/jvm/java"].gid) == (5, 6)
    assert found["./opt/link"].linkname == "/usr/lib/jvm"


@pytest.mark.parametrize("shell", SHELLS)
def test_all_of_a_root_without_what_is_ours(tmp_path: Path, root: Path, shell: str) -> None:
    assert root.is_dir()
    found = _packed(tmp_path, shell, "/\n")
    assert "./side" in found
    assert not [name for name in found if "stoneware" in name]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stage_from_scratch_is_its_directory(tmp_path: Path, root: Path, shell: str) -> None:
    assert root.is_dir()
    assert "./only" in _packed(tmp_path, shell, "/only\n", FILES_ROOT="/.stoneware-scratch")
