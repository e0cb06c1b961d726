"""When the PostgreSQL example fills its disk: the start script, over programs that note their calls."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.tool

SCRIPT = Path(__file__).parents[2] / "examples/postgres/postgres-node"
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases/postgres_disks.json").read_text())
NOTE = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLS"\n'
FILL = """\
for word; do case $word in --pgdata=*) directory=${word#*=} ;; esac; done
mkdir -p "$directory"
[ -z "${DIES-}" ] || exit 1
echo 15 >"$directory/PG_VERSION"
"""


@dataclass(frozen=True)
class Node:
    """The start script, moved to a directory of its own."""

    root: Path

    @property
    def volume(self) -> Path:
        return self.root / "volume"

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, what: str, **extra: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "CALLS": str(self.root / "calls"),
            "TMPDIR": str(self.root),
        }
        return subprocess.run(
            [self.root / "postgres-node", what],
            env={**env, **extra},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    script = SCRIPT.read_text()
    for path, here in {"/var/lib/postgresql": "volume", "/usr/lib/postgresql": "none"}.items():
        assert path in script
        script = script.replace(path, str(tmp_path / here))
    _program(tmp_path / "postgres-node", script)
    for name in ("initdb", "pg_basebackup"):
        _program(tmp_path / "bin" / name, NOTE + FILL)
    for name in ("pg_ctl", "postgres"):
        _program(tmp_path / "bin" / name, NOTE)
    _program(tmp_path / "bin/psql", NOTE + 'echo "${ANSWER-}"\n')
    (tmp_path / "volume").mkdir()
    return Node(tmp_path)


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _lay(volume: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        (volume / name).write_text(text)


def _tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_fills_only_what_is_blank(node: Node, case: dict[str, Any]) -> None:
    _lay(node.volume, case["files"])
    before = _tree(node.volume)
    primary = case.get("primary", "")

    done = node.run("start", **({"PRIMARY_HOST": primary} if primary else {}))

    calls = [call.split()[0] for call in node.calls()]
    assert [call for call in calls if call in {"initdb", "pg_basebackup"}] == case["calls"], done.stderr
    assert ("postgres" in calls) is (case["ends"] == "started"), done.stderr
    assert ("psql" in calls) is (case["ends"] == "started" and not primary)
    if case["ends"] == "refused":
        assert done.returncode == 78
        assert case["says"] in done.stderr
    if case["calls"]:
        standby = {"data/standby.signal": ""} if primary else {}
        assert _tree(node.volume) == {"data/PG_VERSION": "15\n", **standby}
    else:
        assert _tree(node.volume) == before


@pytest.mark.parametrize("primary", ["", "db"])
def test_a_copy_that_fails_leaves_a_disk_that_is_filled_next_time(node: Node, primary: str) -> None:
    failed = node.run("start", PRIMARY_HOST=primary, DIES="yes")

    assert failed.returncode == 78
    assert not (node.volume / "data").exists()
    assert node.run("start", PRIMARY_HOST=primary).returncode == 0
    assert (node.volume / "data/PG_VERSION").exists()


def test_a_disk_that_cannot_be_read_is_not_filled(node: Node) -> None:
    node.volume.rmdir()  # as unreadable to root as a directory gets

    done = node.run("start")

    assert done.returncode == 78
    assert "cannot be read" in done.stderr
    assert node.calls() == []


@pytest.mark.parametrize(
    ("primary", "answer", "code", "says"),
    [
        ("", "t", 0, "the primary, taking writes"),
        ("", "f", 1, "not the primary, taking writes"),
        ("db", "t", 0, "a replica, following db"),
        ("db", "f", 1, "not a replica, following db"),
        ("db", "", 1, "not a replica, following db"),
    ],
)
def test_health_is_what_the_server_says(node: Node, primary: str, answer: str, code: int, says: str) -> None:
    done = node.run("health", PRIMARY_HOST=primary, ANSWER=answer)

    assert (done.returncode, done.stdout.strip()) == (code, says)
    asked = "pg_stat_wal_receiver" if primary else "select not pg_is_in_recovery()"
    assert asked in node.calls()[0]
