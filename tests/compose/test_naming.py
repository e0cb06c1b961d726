"""A cluster's name is the same with and without the rest of its files, whose faults do not matter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.compose.load import load_cluster
from stoneware.compose.naming import read_name
from stoneware.errors import InputError

SERVICES = "services:\n  web:\n    image: hello\n"


@pytest.mark.parametrize(
    ("texts", "environment", "project", "name"),
    [
        pytest.param([SERVICES], {}, None, "the-place", id="directory"),
        pytest.param([f"name: shop\n{SERVICES}"], {}, None, "shop", id="file"),
        pytest.param([f"name: shop\n{SERVICES}", "name: other\n"], {}, None, "other", id="last file"),
        pytest.param([f"name: shop-${{STAGE}}\n{SERVICES}"], {"STAGE": "x"}, None, "shop-x", id="variable"),
        pytest.param([SERVICES], {"COMPOSE_PROJECT_NAME": "mine"}, None, "mine", id="environment"),
        pytest.param(
            [f"name: shop\n{SERVICES}"], {"COMPOSE_PROJECT_NAME": "mine"}, "yours", "yours", id="-p"
        ),
    ],
)
def test_the_name_is_that_of_the_cluster(
    texts: list[str], environment: dict[str, str], project: str | None, name: str, tmp_path: Path
) -> None:
    place = tmp_path / "the-place"
    place.mkdir()
    files = [place / f"{number}.yaml" for number, _ in enumerate(texts)]
    for path, text in zip(files, texts, strict=True):
        path.write_text(text)
    found = read_name(files, directory=place, environment=environment, project_name=project)
    whole = load_cluster(files, directory=place, environment=environment, project_name=project)
    assert (found.name, found.files) == (whole.name, tuple(whole.files)) == (name, tuple(files))


def test_what_is_wrong_with_the_rest_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "machines.yaml"
    path.write_text("name: shop\nservices:\n  web:\n    no-such-key: ${UNSET:?}\n")
    assert read_name([path], directory=tmp_path, environment={}).name == "shop"


@pytest.mark.parametrize("text", ["name: [\n", "name: Not A Name\nservices: {}\n"])
def test_no_yaml_and_no_name_are_faults(text: str, tmp_path: Path) -> None:
    path = tmp_path / "machines.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        read_name([path], directory=tmp_path, environment={})


def test_a_name_takes_no_schema() -> None:
    program = (
        "import sys, stoneware.compose.naming, stoneware.cluster.down\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] in ('pydantic', 'jsonschema')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
