"""What not every platform can do: asked for when a plan is made, by each command that needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.bake import api
from stoneware.bake.events import Silent
from stoneware.bake.options import BakeOptions, OnFailure
from stoneware.bake.place import Place
from stoneware.cluster import events
from stoneware.cluster.needs import needs_of
from stoneware.cluster.site import Site
from stoneware.cluster.up import UpOptions, up
from stoneware.compose.load import load_cluster
from stoneware.compose.model import Cluster
from stoneware.errors import InputError
from stoneware.launch.needs import needs_of as needs_of_launch
from stoneware.model.capability import Capability, Need, require
from stoneware.model.limits import Ulimit
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import PortMapping
from stoneware.platforms.cluster_files import FileClusters
from stoneware.rollout.prepare import preview
from tests.bake.bake_store import BakeStore
from tests.cluster.support import some_images
from tests.platforms.memory import MemoryPlatform

FILE = """\
name: shop
services:
  db:
    image: db:1
    mem_limit: 1g
  app:
    image: app:1
    ports: ["8080:80"]
    deploy: {resources: {limits: {cpus: "2"}}}
    environment: {NODE_ID: "1"}
    x-stoneware:
      gates: [exec: [true]]
"""
MACHINEFILE = """\
FROM debian:12 AS build
RUN --mount=type=cache,target=/c true
FROM debian:12
COPY --from=build /a /a
"""


def without(*lacking: Capability) -> MemoryPlatform:
    platform = MemoryPlatform()
    platform.capabilities = frozenset(Capability) - set(lacking)
    return platform


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "machines.yaml").write_text(FILE)
    return load_cluster((), directory=tmp_path, environment={})


def refused(work: Callable[[], object], place: str, capability: Capability) -> InputError:
    with pytest.raises(InputError) as caught:
        work()
    assert caught.value.location.endswith(place)
    assert caught.value.brief == f"the platform memory cannot do this: {capability}"
    assert caught.value.resolution
    return caught.value


@pytest.mark.parametrize(
    ("lacking", "place"),
    [
        (Capability.PUBLISHED_PORTS, "machines.yaml:8:12"),
        (Capability.MACHINE_LIMITS, "machines.yaml:5:16"),
    ],
)
def test_up_makes_nothing_that_the_platform_cannot_do(
    cluster: Cluster, tmp_path: Path, lacking: Capability, place: str
) -> None:
    platform = without(lacking)

    def bring_up() -> None:
        site: Any = Site(platform, some_images(), FileClusters(tmp_path / "clusters"))  # type: ignore[arg-type]
        options: dict[str, Any] = {"reporter": events.Silent(), "confirm": lambda _: None, "environment": {}}
        up(cluster, site, UpOptions(), bakes=lambda: contextlib.nullcontext(Silent()), **options)

    error = refused(bring_up, place, lacking)
    if lacking is Capability.MACHINE_LIMITS:
        assert "machines.yaml:9:" in error.details  # all places, the long form of a limit among them
    assert (platform.calls, (tmp_path / "clusters").exists()) == ([], False)


def test_networks_and_systems_of_a_kind_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text(
        "name: shop\n"
        "services:\n"
        "  db:\n"
        "    image: db:1\n"
        "    read_only: true\n"
        "    ulimits: {nofile: 99}\n"
        "    networks: [back]\n"
        "networks: {back: {internal: true}}\n"
    )
    needs = list(needs_of(load_cluster((), directory=tmp_path, environment={})))
    assert [(need.capability, need.place.rpartition("/")[2]) for need in needs] == [
        (Capability.READ_ONLY, "machines.yaml:5:16"),
        (Capability.READ_ONLY, "machines.yaml:6:14"),
        (Capability.OWN_NETWORKS, "machines.yaml"),
    ]
    assert all(need.instead for need in needs)


def test_a_secret_of_secret_manager_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text(
        "name: shop\n"
        "services:\n"
        "  db:\n"
        "    image: db:1\n"
        "    secrets: [key]\n"
        "secrets: {key: {file: 'secret://projects/proj-1/secrets/key/versions/3'}}\n"
    )
    (need,) = needs_of(load_cluster((), directory=tmp_path, environment={}))
    assert (need.capability, need.place.rpartition("/")[2]) == (
        Capability.STORED_SECRETS,
        "machines.yaml:5:14",
    )
    assert "environment: VARIABLE" in need.instead


def test_a_rollout_needs_what_its_gates_do(cluster: Cluster, tmp_path: Path) -> None:
    kept = FileClusters(tmp_path / "clusters")
    site: Any = Site(without(Capability.COMMANDS), some_images(), kept)  # type: ignore[arg-type]
    error = refused(lambda: preview(cluster, site, {}), "machines.yaml:12:14", Capability.COMMANDS)
    assert error.resolution == "ask the neighbour"  # the platform's own word goes first


def test_a_file_that_asks_for_nothing_needs_nothing(cluster: Cluster) -> None:
    plain = replace(cluster, services={"db": replace(cluster.services["db"], memory=None)})
    assert list(needs_of(plain)) == []


@pytest.mark.parametrize(
    ("lacking", "place", "options"),
    [
        (Capability.CACHES, "Machinefile:2", {}),
        (Capability.STAGES, "Machinefile:4", {}),
        (Capability.COMMANDS, "--on-failure shell", {"on_failure": OnFailure.SHELL}),
    ],
)
def test_a_bake_boots_nothing_that_the_platform_cannot_do(
    tmp_path: Path, lacking: Capability, place: str, options: dict[str, Any]
) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Machinefile").write_text(MACHINEFILE)
    platform = without(lacking)
    at: Any = Place(platform, BakeStore(tmp_path))
    wanted = BakeOptions(tmp_path / "context", tags=("app",), **options)
    refused(lambda: api.bake(wanted, at, Silent()), place, lacking)
    assert platform.calls == []


@pytest.mark.parametrize(
    ("lacking", "place", "changes", "command"),
    [
        (Capability.PUBLISHED_PORTS, "--publish", {"ports": (PortMapping("127.0.0.1", 80, 80),)}, False),
        (Capability.MACHINE_LIMITS, "--memory", {"memory": 2**30}, False),
        (Capability.MACHINE_LIMITS, "--cpus", {"cpus": 1.0}, False),
        (Capability.MACHINE_LIMITS, "--pids-limit", {"pids_limit": 7}, False),
        (Capability.READ_ONLY, "--read-only", {"read_only": True}, False),
        (Capability.READ_ONLY, "--ulimit", {"ulimits": (Ulimit("nofile", 64, 64),)}, False),
        (Capability.COMMANDS, "COMMAND", {}, True),
    ],
)
def test_run_names_the_option(
    lacking: Capability, place: str, changes: dict[str, Any], command: bool
) -> None:
    needs = list(needs_of_launch(MachineSpec("a", "image:x", **changes), command=command))
    refused(lambda: require(without(lacking), needs), place, lacking)
    require(without(*set(Capability) - {lacking}), needs)


def test_where_several_are_lacking_all_are_told() -> None:
    needs = [Need(Capability.COMMANDS, "a.yaml:1:1"), Need(Capability.CACHES, "a.yaml:2:2", "write less")]
    with pytest.raises(InputError) as caught:
        require(without(*Capability), needs)
    assert caught.value.details.splitlines() == [
        "a.yaml:1:1: running commands inside machines",
        "a.yaml:2:2: directories that outlive builders",
    ]
    require(without(), needs)
