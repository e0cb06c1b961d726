"""When the PostgreSQL example fills its disk: the start script, over programs that note their calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .start_scripts import StartScript, files_of, lay, start_script

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


@pytest.fixture
def node(tmp_path: Path) -> StartScript:
    places = {"/var/lib/postgresql": "volume", "/usr/lib/postgresql": "none"}
    script = start_script(SCRIPT, tmp_path, places)
    for name in ("initdb", "pg_basebackup"):
        script.program(name, NOTE + FILL)
    for name in ("pg_ctl", "postgres"):
        script.program(name, NOTE)
    script.program("psql", NOTE + 'echo "${ANSWER-}"\n')
    return script


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_fills_only_what_is_blank(node: StartScript, case: dict[str, Any]) -> None:
    lay(node.volume, case["files"])
    before = files_of(node.volume)
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
        assert files_of(node.volume) == {"data/PG_VERSION": "15\n", **standby}
    else:
        assert files_of(node.volume) == before


@pytest.mark.parametrize("primary", ["", "db"])
def test_a_copy_that_fails_leaves_a_disk_that_is_filled_next_time(node: StartScript, primary: str) -> None:
    failed = node.run("start", PRIMARY_HOST=primary, DIES="yes")

    assert failed.returncode == 78
    assert not (node.volume / "data").exists()
    assert node.run("start", PRIMARY_HOST=primary).returncode == 0
    assert (node.volume / "data/PG_VERSION").exists()


def test_a_disk_that_cannot_be_read_is_not_filled(node: StartScript) -> None:
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
def test_health_is_what_the_server_says(
    node: StartScript, primary: str, answer: str, code: int, says: str
) -> None:
    done = node.run("health", PRIMARY_HOST=primary, ANSWER=answer)

    assert (done.returncode, done.stdout.strip()) == (code, says)
    asked = "pg_stat_wal_receiver" if primary else "select not pg_is_in_recovery()"
    assert asked in node.calls()[0]
