"""What of a cluster's file only the platform decides: whose ports the machines' ports are."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.cli import clusters
from stoneware.errors import InputError

PORTS = """\
services:
  web:
    image: web:1
    scale: 2
    ports: ["8080:80"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "machines.yaml").write_text(PORTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_machines_with_addresses_of_their_own_have_the_same_ports(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STONEWARE_PLATFORM", "google")
    cluster = clusters.load(clusters.source((), ""))
    assert [[port.machine_port for port in one.ports] for one in cluster.machines] == [[80], [80]]
    assert cluster.directory == project


def test_machines_of_one_computer_do_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STONEWARE_PLATFORM", "local")
    with pytest.raises(InputError) as caught:
        clusters.load(clusters.source((), ""))
    assert "machines.yaml:5" in caught.value.location + caught.value.details
    assert "the port 8080/tcp of this computer" in str(caught.value.brief) + caught.value.details
    assert project.is_dir()
