"""The images that a cluster's file says how to bake."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.bake.options import SecretSource
from stoneware.cluster.images import bakes_of, plan_images
from stoneware.compose.load import load_cluster
from stoneware.config.secrets import Secret
from stoneware.errors import InputError
from tests.bake.bake_store import BakeStore

FILE = "services: {web: {build: web}, db: {build: db, image: both}, spare: {build: db, image: both}}"


def test_an_error_in_a_machinefile_says_whose_it_is(tmp_path: Path) -> None:
    for name, base in (("web", "debian:12"), ("db", "nosuch:1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(f"FROM {base}\n")
    (tmp_path / "compose.yaml").write_text(FILE)
    cluster = load_cluster(None, directory=tmp_path, environment={})
    with pytest.raises(InputError) as caught:
        plan_images(cluster, BakeStore(tmp_path))
    assert caught.value.brief == "db, spare: unknown base or image: nosuch:1"
    assert caught.value.location == "Dockerfile:1"


def test_a_machinefile_in_the_clusters_file_is_baked_like_one_of_its_own(tmp_path: Path) -> None:
    text = "services: {web: {build: {dockerfile_inline: %s}}}"
    (tmp_path / "file").write_text("content")
    (tmp_path / "compose.yaml").write_text(text % '"FROM debian:12\\nCOPY file /\\n"')
    cluster = load_cluster(None, directory=tmp_path, environment={}, project_name="demo")
    (planned,) = plan_images(cluster, BakeStore(tmp_path)).values()
    assert [step.step.text for step in planned.plan.stages[-1].steps] == ["COPY file /"]

    (tmp_path / "compose.yaml").write_text(text % '"FROM debian:12\\nCOPY nosuch /\\n"')
    cluster = load_cluster(None, directory=tmp_path, environment={}, project_name="demo")
    with pytest.raises(InputError) as caught:
        plan_images(cluster, BakeStore(tmp_path))
    assert caught.value.brief == "web: the source nosuch is not in the build context"
    assert caught.value.location == "compose.yaml: dockerfile_inline:2"


def test_a_bake_gets_the_secrets_of_its_service(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services: {web: {build: {context: ., secrets: [one, {source: two, target: id}]}}}\n"
        "secrets: {one: {file: one}, two: {environment: TWO}}\n"
    )
    (tmp_path / "one").write_text("1")
    (tmp_path / ".env").write_text("TWO=2\n")
    cluster = load_cluster(None, directory=tmp_path, environment={}, project_name="demo")
    options, _ = bakes_of(cluster)["demo-web"]
    assert options.secrets == {
        "one": SecretSource(path=tmp_path / "one"),
        "id": SecretSource(variable="TWO", value=Secret("2")),
    }
