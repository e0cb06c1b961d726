"""Status and drift tell secrets by the value that the file has now, as plans do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.cli.clusters import desired_of
from stoneware.cluster.drift import find_drift
from stoneware.cluster.model import Desired
from stoneware.cluster.plan import make_plan
from stoneware.cluster.secrets import all_secrets, read_secrets
from stoneware.cluster.site import Site
from stoneware.cluster.status import status
from stoneware.compose.model import Cluster, SecretSource
from stoneware.errors import InputError
from stoneware.model.resources import SecretMount
from stoneware.platforms.cluster_files import FileClusters
from tests.cluster.engine import ClusterPlatform
from tests.cluster.observation_documents import RESOURCES
from tests.cluster.support import BASE, NOW, cluster_of, observation_of, patched, some_images

pytestmark = pytest.mark.pure


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("one-battery")
    return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    platform = ClusterPlatform()
    platform.put_secret("shop-app-token", b"one-battery")
    return Site(platform, some_images(), FileClusters(tmp_path))  # type: ignore[arg-type]


def cluster_with(token: Path) -> Cluster:
    return replace(cluster_of(BASE), secrets={"app-token": SecretSource("app-token", file=token)})


def sync_of(desired: Desired, there: Desired) -> dict[str, bool | None]:
    return {one.name: one.in_sync for one in status(desired, observation_of(there), NOW)}


def test_a_secret_that_is_as_it_was(site: Site, token: Path) -> None:
    there = desired_of(cluster_with(token), site)
    assert sync_of(there, there) == dict.fromkeys(("db-1", "app-1", "app-2", "web-1"), True)
    assert find_drift(there, observation_of(there), (), RESOURCES).in_sync


def test_a_secret_whose_file_has_changed(site: Site, token: Path) -> None:
    there = desired_of(cluster_with(token), site)
    token.write_text("another-battery")
    desired = desired_of(cluster_with(token), site)
    assert sync_of(desired, there) == {"db-1": True, "app-1": False, "app-2": False, "web-1": True}
    report = find_drift(desired, observation_of(there), (), RESOURCES)
    assert [(item.machine, item.what) for item in report.items] == [
        ("app-1", "secret shop-app-token"),
        ("app-2", "secret shop-app-token"),
    ]
    assert [step.name for step in make_plan(desired, observation_of(there)).changes] == ["app-1", "app-2"]
    assert site.platform.secret_version("shop-app-token", b"another-battery") is None, "looking puts nothing"


def test_a_secret_of_secret_manager_is_neither_read_nor_put(site: Site) -> None:
    source = SecretSource("app-token", stored="projects/proj-1/secrets/token", version="3")
    cluster = replace(cluster_of(BASE), secrets={"app-token": source})
    assert read_secrets(cluster, {}) == {}
    assert all_secrets(cluster, {"secrets": ["shop-old"]}) == ["shop-old"], "`down` destroys these"
    desired = desired_of(cluster, site)
    mount = SecretMount("projects/proj-1/secrets/token", "app-token", "3")
    assert desired.machines["app-1"].spec.secrets == (mount,)
    assert sync_of(desired, desired)["app-1"]
    newer = replace(cluster, secrets={"app-token": replace(source, version="4")})
    assert sync_of(desired_of(newer, site), desired)["app-1"] is False


def test_a_secret_that_cannot_be_read_is_not_in_sync(site: Site, token: Path) -> None:
    there = desired_of(cluster_with(token), site)
    token.unlink()
    desired = desired_of(cluster_with(token), site)
    assert sync_of(desired, there) == {"db-1": True, "app-1": None, "app-2": None, "web-1": True}
    report = find_drift(desired, observation_of(there), (), RESOURCES)
    assert [one.machine for one in report.unknown] == ["app-1", "app-2"]
    [one] = [one for one in status(desired, observation_of(there), NOW) if one.name == "app-1"]
    assert "shop-app-token" in one.differences[0]


def test_a_secret_that_is_too_large_is_refused_before_anything_is_done(site: Site, token: Path) -> None:
    token.write_bytes(b"x" * (1 << 20))
    assert len(read_secrets(cluster_with(token), {})["app-token"].reveal()) == 1 << 20
    token.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="the secret app-token is too large") as told:
        read_secrets(cluster_with(token), {})
    assert "xxx" not in str(told.value.details)


def test_a_config_is_called_one_where_it_is_too_large_or_missing(tmp_path: Path) -> None:
    big = tmp_path / "big"
    cluster = cluster_of(patched(BASE, {"services": {"app": {"secrets": ["app.config"]}}}))
    cluster = replace(cluster, secrets={"app.config": SecretSource("app", file=big, config=True)})
    with pytest.raises(InputError, match="the config app is missing"):
        read_secrets(cluster, {})
    named_like_it = replace(cluster, secrets={"app.config": SecretSource("app.config", file=big)})
    with pytest.raises(InputError, match=r"the secret app\.config is missing"):
        read_secrets(named_like_it, {})
    big.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="the config app is too large") as told:
        read_secrets(cluster, {})
    assert "COPY" in told.value.resolution
