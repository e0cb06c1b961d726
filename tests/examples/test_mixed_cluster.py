"""A cluster in which a container becomes a virtual machine with its data, grows, and becomes one again.

What commands, volumes and addresses in any virtual machine are is looked at in this one.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import virtual_life
from .clusters import ClusterProgram
from .conftest import Program
from .test_hello import HELLO

pytestmark = [
    pytest.mark.machine,
    pytest.mark.timeout(1800),
]  # its gate waits ten minutes for a boot in software

NAME = "mixed"
FILE = """
    name: mixed
    x-common: &common
      image: hello:latest
      environment: {GREETING: %(greeting)s}
      volumes: [data:/srv/data]
      deploy: {update_config: {monitor: 1s}}
      x-stoneware: {gate_timeout: 10m}
    services:
      far:
        <<: *common
        x-local: {vm: %(vm)s}
      web:
        <<: *common
    volumes:
      data: {x-local: {size: %(size)s}}
"""


def write(cluster: ClusterProgram, greeting: str, *, vm: str = "false", size: str = "1g") -> None:
    words = {"greeting": greeting, "size": size, "vm": vm}
    (cluster.directory / "machines.yaml").write_text(textwrap.dedent(FILE) % words)


@pytest.fixture
def cluster(program: Program, tmp_path: Path) -> Iterator[ClusterProgram]:
    if lacking := virtual_life.lacking():
        pytest.skip(f"this cluster needs {lacking}")
    program.bake("hello", HELLO)
    made = ClusterProgram(program, tmp_path, NAME)
    try:
        yield made
    finally:
        made.run("down", "--volumes", "--yes", check=False)


def stands(cluster: ClusterProgram, greeting: str, far: str) -> None:
    """Each is healthy and reaches the other by name, what was written is there, and nothing differs."""
    kinds = {"far-1": far, "web-1": "directory"}
    assert {name: one["health"] for name, one in cluster.status().items()} == dict.fromkeys(kinds, "healthy")
    for machine, other in (("web-1", "far"), ("far-1", "web")):
        script = f"cat /srv/data/file && curl -s -m 60 http://{other}/"
        said = cluster.execute(machine, "sh", "-c", script)
        assert (said.splitlines()[0], greeting in said) == (f"of {machine}", True)
        assert cluster.json("volume", "inspect", f"{NAME}-{machine}-data")["kind"] == kinds[machine]
    assert cluster.drift() == (0, [])


def test_a_cluster_of_both_kinds(cluster: ClusterProgram, tmp_path: Path) -> None:
    # A virtual machine boots once only: in software that takes long. So what one is like is seen here, too.
    write(cluster, "one")
    cluster.run("up", "--yes")
    for machine in ("web-1", "far-1"):
        script = f"echo of {machine} >/srv/data/file && chown www-data: /srv/data/file"
        cluster.execute(machine, "sh", "-c", script)

    write(cluster, "one", vm="true")
    assert "does not replace healthy machines" in cluster.run("up", "--yes", check=False).stderr
    planned = cluster.run("rollout", "--plan").stdout
    assert f"converts its volume {NAME}-far-1-data: directory → disk" in planned
    cluster.run("rollout", "--yes")
    stands(cluster, "one", "disk")

    write(cluster, "one", vm="true", size="2g")
    cluster.run("up", "--yes")
    script = "df -m --output=size /srv/data && uname -r && echo more >/srv/data/more"
    size, release = cluster.execute("far-1", "sh", "-c", script).split()[1:]
    assert int(size) > 1500  # at once, while it runs
    assert release != os.uname().release
    far = f"{NAME}-far-1"
    assert "BdsDxe: starting" in cluster.run("logs", far).stdout  # the firmware
    virtual_life.commands_and_copies(cluster.program, far, tmp_path)
    virtual_life.a_volume_is_a_disk(cluster.program, far, f"{far}-data", "/srv/data")
    virtual_life.qemu_has_nothing(cluster.program, far)
    virtual_life.addresses_are_pinned(cluster.program, far)

    write(cluster, "two", size="2g")
    cluster.run("rollout", "--yes")
    stands(cluster, "two", "directory")
    found = cluster.execute("far-1", "sh", "-c", "cat /srv/data/more; stat -c %U /srv/data/file")
    assert found == "more\nwww-data\n"

    cluster.run("down", "--volumes", "--yes")
    assert not any(cluster.leftovers().values())
