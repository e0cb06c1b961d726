"""The PostgreSQL example: a replica follows its primary, machines are replaced, secrets stay secret.

One cluster serves all tests, in the order they are written in.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .clusters import ClusterProgram, wait_for
from .conftest import EXAMPLES, Program

pytestmark = pytest.mark.machine

APP = "application+password/1"
REPLICATION = "replication=password.2"
SYSTEM = "select system_identifier from pg_control_system()"


@pytest.fixture(scope="module")
def cluster(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProgram]:
    directory = tmp_path_factory.mktemp("postgres") / "postgres"
    shutil.copytree(EXAMPLES / "postgres", directory, ignore=shutil.ignore_patterns("secrets"))
    (directory / "secrets").mkdir()
    (directory / "secrets/app").write_text(f"{APP}\n")
    (directory / "secrets/replication").write_text(REPLICATION)
    made = ClusterProgram(Program(machine_home), directory, "postgres")
    made.run("up", "--yes")
    yield made
    made.run("down", "--volumes", "--yes", check=False)


def sql(cluster: ClusterProgram, machine: str, statement: str, database: str = "app") -> list[str]:
    """Run a statement as the administrator, and return the rows of its answer."""
    words = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement, database)
    return cluster.run("exec", "-u", "postgres", f"{cluster.name}-{machine}", *words).stdout.splitlines()


def copied(cluster: ClusterProgram, question: str, rows: list[str]) -> None:
    """Wait until the replica gives these rows: it follows, it does not hold the primary up."""
    wait_for(lambda: sql(cluster, "replica-1", question) == rows, f"{rows} in the replica")


def test_what_the_primary_writes_can_be_read_from_the_replica(cluster: ClusterProgram) -> None:
    assert {name: machine["health"] for name, machine in cluster.status().items()} == {
        "primary-1": "healthy",
        "replica-1": "healthy",
    }

    sql(cluster, "primary-1", "create table first (word text); insert into first values ('one'), ('two')")

    copied(cluster, "table first", ["one", "two"])
    assert sql(cluster, "primary-1", SYSTEM) == sql(cluster, "replica-1", SYSTEM)
    follower = "select application_name, state from pg_stat_replication"
    assert sql(cluster, "primary-1", follower) == ["postgres-replica-1|streaming"]
    refused = cluster.run(
        *("exec", "-u", "postgres", "postgres-replica-1", "psql", "-c", "create table x ()", "app"),
        check=False,
    )
    assert refused.returncode == 1
    assert "read-only transaction" in refused.stderr


def log_in(cluster: ClusterProgram, password: str) -> tuple[int, str]:
    """Connect to the primary as an application, from the other machine."""
    words = ("psql", "-XqAt", "-h", "primary", "-U", "app", "-c", "select current_user", "app")
    options = ("-e", f"PGPASSWORD={password}", "-u", "postgres")
    done = cluster.run("exec", *options, "postgres-replica-1", *words, check=False)
    return done.returncode, done.stdout.strip()


def test_applications_come_in_with_the_password_of_the_secret(cluster: ClusterProgram) -> None:
    assert log_in(cluster, APP) == (0, "app")
    assert log_in(cluster, REPLICATION)[0] == 2


@pytest.mark.parametrize("port", [5432, 5441])
def test_both_are_reached_from_this_computer(cluster: ClusterProgram, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(bytes.fromhex("00000008 04d2162f"))  # SSLRequest
        assert connection.recv(1) in (b"S", b"N")


def test_secrets_are_files_for_root_and_nowhere_else(cluster: ClusterProgram) -> None:
    def holds(text: str) -> bool:
        return APP in text or REPLICATION in text

    for machine in ("primary-1", "replica-1"):
        assert cluster.execute(machine, "cat", "/run/secrets/app-password").strip() == APP
        seen = cluster.execute(machine, "stat", "-c", "%a %U", "/run/secrets/app-password")
        assert seen.split() == ["400", "root"]
        seen = cluster.execute(machine, "stat", "-c", "%a %U", "/etc/postgresql/pgpass")
        assert seen.split() == ["600", "postgres"]
        full_name = f"{cluster.name}-{machine}"
        read = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null || :"  # some end meanwhile
        processes = cluster.execute(machine, "sh", "-c", read)
        assert "stoneware-watch" in processes
        assert not holds(processes)
        assert not holds(cluster.run("inspect", full_name).stdout)
        assert not holds(cluster.run("logs", full_name).stdout)
    for words in (["config"], ["plan", "--verbose"], ["status", "--json"], ["drift", "--json"]):
        done = cluster.run(*words, check=False)
        assert not holds(done.stdout + done.stderr), words
    kept = [path for path in (cluster.program.home / "clusters").rglob("*") if path.is_file()]
    assert any(path.name == "terraform.tfstate" for path in kept)
    assert cluster.leftovers()["secrets"] != []
    assert [path for path in kept if holds(path.read_text(errors="replace"))] == []


def test_replaced_machines_go_on_with_their_disks_and_a_new_password(cluster: ClusterProgram) -> None:
    before = sql(cluster, "replica-1", SYSTEM)
    sql(cluster, "primary-1", "create table second (n int); insert into second values (1)")
    addresses = {name: machine["ip"] for name, machine in cluster.status().items()}
    (cluster.directory / "bigger.yaml").write_text(
        "services:\n"
        "  primary:\n    environment:\n      SHARED_BUFFERS: 64MB\n"
        "  replica:\n    environment:\n      SHARED_BUFFERS: 32MB\n"
    )
    (cluster.directory / "secrets/app").write_text(f"{APP}2")

    files = ("-f", "machines.yaml", "-f", "bigger.yaml")
    cluster.run("up", *files, "--recreate", "--yes")

    assert cluster.run("drift", *files).returncode == 0
    assert sql(cluster, "primary-1", "show shared_buffers") == ["64MB"]
    assert sql(cluster, "replica-1", "show shared_buffers") == ["32MB"]
    assert {name: machine["ip"] for name, machine in cluster.status().items()} == addresses
    for machine in ("primary-1", "replica-1"):
        assert "is blank" not in cluster.run("logs", f"{cluster.name}-{machine}").stdout
    sql(cluster, "primary-1", "insert into second values (2)")
    copied(cluster, "table second", ["1", "2"])
    assert log_in(cluster, f"{APP}2") == (0, "app")
    assert log_in(cluster, APP)[0] == 2
    assert sql(cluster, "replica-1", SYSTEM) == before


def test_a_primary_that_stops_can_still_reach_its_replica(cluster: ClusterProgram) -> None:
    """A machine keeps its address until its services have ended."""
    cluster.run("stop", "postgres-primary-1")

    log = cluster.run("logs", "postgres-primary-1").stdout
    assert "database system is shut down" in log
    assert "due to replication timeout" not in log


def test_nothing_is_left_at_the_end(cluster: ClusterProgram) -> None:
    cluster.run("down")
    left = cluster.leftovers()
    assert (left["machines"], left["networks"]) == ([], [])
    assert left["volumes"] == ["postgres-primary-1-data", "postgres-replica-1-data"]

    cluster.run("down", "--volumes", "--yes")

    assert not any(cluster.leftovers().values())
