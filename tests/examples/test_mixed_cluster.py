"""A cluster of a container and a virtual machine: brought up, grown, rolled while each becomes the other."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from stoneware.platforms.local.disks.reading import TOOLS as READING
from stoneware.platforms.local.host.requirements import TABLE

from .clusters import ClusterProgram
from .conftest import Program
from .test_hello import HELLO
from .test_virtual_machine import TOOLS

pytestmark = pytest.mark.machine

NAME = "mixed"
FILE = """
    name: mixed
    services:
      web:
        image: hello:latest
        environment: {GREETING: %(greeting)s}
        volumes: [data:/srv/data]
        deploy: {update_config: {monitor: 1s}}
        x-stoneware: {gate_timeout: 10m}
        x-local: {vm: %(web)s}
      far:
        image: hello:latest
        environment: {GREETING: %(greeting)s}
        volumes: [data:/srv/data]
        deploy: {update_config: {monitor: 1s}}
        x-stoneware: {gate_timeout: 10m}
        x-local: {vm: %(far)s}
    volumes:
      data: {x-local: {size: %(size)s}}
"""


def write(
    cluster: ClusterProgram, greeting: str, size: str, *, web: str = "false", far: str = "true"
) -> None:
    words = {"greeting": greeting, "size": size, "web": web, "far": far}
    (cluster.directory / "machines.yaml").write_text(textwrap.dedent(FILE) % words)


@pytest.fixture
def cluster(program: Program, tmp_path: Path) -> Iterator[ClusterProgram]:
    wanted = {*TOOLS, *READING, "OVMF", "tun"}
    lacking = [one.name for one in TABLE if one.name in wanted and one.quick()]
    if lacking:
        pytest.skip(f"this cluster needs {lacking}")
    program.bake("hello", HELLO)
    made = ClusterProgram(program, tmp_path, NAME)
    write(made, "one", "1g")
    try:
        yield made
    finally:
        made.run("down", "--volumes", "--yes", check=False)


def stands(cluster: ClusterProgram, greeting: str, kinds: Mapping[str, str]) -> None:
    """Each is healthy and reaches the other, what was written is there, and nothing differs."""
    assert {name: one["health"] for name, one in cluster.status().items()} == dict.fromkeys(kinds, "healthy")
    for machine, other in (("web-1", "far-1"), ("far-1", "web-1")):
        page = cluster.execute(machine, "curl", "-s", "-m", "60", f"http://{NAME}-{other}/")
        assert greeting in page
        assert cluster.execute(machine, "cat", "/srv/data/file") == f"of {machine}\n"
        assert cluster.json("volume", "inspect", f"{NAME}-{machine}-data")["kind"] == kinds[machine]
    assert cluster.drift() == (0, [])


def test_a_cluster_of_both_kinds(cluster: ClusterProgram) -> None:
    cluster.run("up", "--yes", "--wait-timeout", "600")
    for machine in ("web-1", "far-1"):
        cluster.execute(machine, "sh", "-c", f"echo of {machine} >/srv/data/file")
    stands(cluster, "one", {"web-1": "directory", "far-1": "disk"})

    write(cluster, "one", "2g")
    cluster.run("up", "--yes")
    size = cluster.execute("far-1", "df", "-m", "--output=size", "/srv/data")
    assert int(size.split()[-1]) > 1500  # at once, while it runs

    write(cluster, "two", "2g", web="true", far="false")
    refused = cluster.run("up", "--yes", check=False)
    assert "does not replace healthy machines" in refused.stderr
    planned = cluster.run("rollout", "--plan").stdout
    assert f"converts its volume {NAME}-web-1-data: directory → disk" in planned
    assert f"converts its volume {NAME}-far-1-data: disk → directory" in planned
    cluster.run("rollout", "--yes")
    stands(cluster, "two", {"web-1": "disk", "far-1": "directory"})

    cluster.run("down", "--volumes", "--yes")
    assert not any(cluster.leftovers().values())
