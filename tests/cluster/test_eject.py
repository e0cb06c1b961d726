"""A cluster's configuration as plain Terraform."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoneware.cluster.eject import eject, settings
from stoneware.errors import InputError
from stoneware.platforms.cluster_records import Document
from tests.cluster.engine import EngineBench


@pytest.fixture
def bench(tmp_path: Path) -> EngineBench:
    """Return a cluster that was brought up, as far as its records say."""
    made = EngineBench(tmp_path / "clusters")
    records = made.site.clusters.of("shop")
    with records.lock("stoneware up", 0):
        records.write(Document.DECLARED, {"machines": {}, "volumes": {}, "networks": {}})
        (records.work / "terraform.tfstate").write_text('{"version": 4, "serial": 7}')
    return made


def test_it_is_the_module_with_what_is_declared_and_a_copy_of_the_state(
    bench: EngineBench, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "shop"
    files = eject(bench.site, "shop", target)
    assert {"README.md", "main.tf", "machines.auto.tfvars.json", "terraform.tfstate"} <= set(files)
    assert json.loads((target / "terraform.tfstate").read_text())["serial"] == 7
    assert (target / "terraform.tfstate").stat().st_mode & 0o777 == 0o600
    assert json.loads((target / "machines.auto.tfvars.json").read_text())["machines"] == {}
    assert "is a copy of the state" in (target / "README.md").read_text()
    assert [path.name for path in target.parent.iterdir()] == ["shop"]


def test_an_empty_directory_is_filled_and_another_is_refused(bench: EngineBench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "main.tf" in eject(bench.site, "shop", tmp_path / "empty")
    with pytest.raises(InputError, match="there is something in"):
        eject(bench.site, "shop", tmp_path / "empty")
    with pytest.raises(InputError, match="there is something in"):
        eject(bench.site, "shop", tmp_path / "empty/main.tf")


def test_a_cluster_that_is_not_up(bench: EngineBench, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the cluster other is not up"):
        eject(bench.site, "other", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_settings_are_written_as_terraform_writes_them() -> None:
    root = {"provider": {"google": {"poll_interval": "2s", "project": "a${b}%{c}"}}}
    backend = {"gcs": {"bucket": "b", "prefix": 'p"q'}}
    assert settings(root, backend) == (
        'terraform {\n  backend "gcs" {\n    bucket = "b"\n    prefix = "p\\"q"\n  }\n}\n\n'
        'provider "google" {\n  poll_interval = "2s"\n  project       = "a$${b}%%{c}"\n}\n'
    )
    assert settings({}, {}) == ""
