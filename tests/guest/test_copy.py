"""COPY, ADD and WORKDIR as the build agent does them, case by case: BuildKit's rules."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.guest.support import GUEST, SHELLS, tar_of

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]

CASES = Path(__file__).parent / "cases"
IGNORED = {"/etc", "/etc/passwd", "/etc/group"}
PROGRAM = f"""
. {GUEST}/lib.sh
. {GUEST}/build/mounts.sh
. {GUEST}/build/copy-step.sh
bundle_member() {{ cat "$WORK/$1"; }}
umask 022
"$1" "$WORK/steps/0001"
"""


def _load(name: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in json.loads((CASES / name).read_text())]


def _describe(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        status = path.lstat()
        if name in IGNORED:
            continue
        mode = f"{stat.S_IMODE(status.st_mode):o} {status.st_uid} {status.st_gid}"
        if path.is_symlink():
            found[name] = f"l {path.readlink()}"
        elif path.is_dir():
            found[name] = f"d {mode}"
        else:
            found[name] = f"f {mode} {path.read_text()}"
    return found


def _run(tmp_path: Path, shell: str, case: dict[str, Any], function: str, files: dict[str, bytes]) -> None:
    root, work = tmp_path / "root", tmp_path / "work"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\njoe:x:1000:1001::/home/joe:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:\njoe:x:1001:\n")
    with tarfile.open(fileobj=BytesIO(tar_of(case.get("before", [])))) as archive:
        archive.extraction_filter = lambda member, _: member  # Debian 12's Python knows no `filter=`
        archive.extractall(root, numeric_owner=True)  # noqa: S202
    for name, content in files.items():
        path = work / "steps/0001" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (work / "members").write_text("".join(f"steps/0001/{name}\n" for name in files))
    done = subprocess.run(
        [*SHELLS[shell], "-c", PROGRAM, "sh", function],
        env={"PATH": os.environ["PATH"], "SW_ROOT": str(root), "WORK": str(work)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == ("fails" in case), said
    assert case.get("fails", "") in said
    assert _describe(root) == case["expect"]


@pytest.mark.parametrize("shell", sorted(SHELLS))
@pytest.mark.parametrize("case", _load("copy.json"))
def test_copy(tmp_path: Path, shell: str, case: dict[str, Any]) -> None:
    files = {key: case.get(key, "").encode() for key in ("dest", "chown", "chmod", "into", "from")}
    if "source" in case:
        files["data.tar"] = tar_of(case["source"])
        for name, wanted in (("directories", True), ("others", False)):
            files[name] = b"".join(
                entry["name"].encode() + b"\0"
                for entry in case["source"]
                if wanted is not ("content" in entry or "link" in entry)
            )
    if "link" in case:
        files["link"] = b""
    for number, archive in enumerate(case.get("archives", [])):
        files[f"archives/{number}"] = tar_of(archive)
    _run(tmp_path, shell, case, "copy_step", files)


@pytest.mark.parametrize("shell", sorted(SHELLS))
@pytest.mark.parametrize("case", _load("workdir.json"))
def test_workdir(tmp_path: Path, shell: str, case: dict[str, Any]) -> None:
    files = {key: case[key].encode() for key in ("path", "user")}
    _run(tmp_path, shell, case, "workdir_step", files)
