"""Which directories of a bake may still have a builder."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.terraform.builders import destroy_states, states_in
from tests.platforms.memory import MemoryPlatform

ONE = {"resources": [{"mode": "managed", "type": "t", "name": "n", "instances": [{}]}]}
WORKS = ".terraform.tfstate.lock.info"  # Terraform works on its state, or was killed there


@pytest.mark.parametrize(
    ("file", "content", "left"),
    [
        ("terraform.tfstate", ONE, True),
        (WORKS, {}, True),
        ("terraform.tfstate", {"resources": []}, False),
        ("main.tf", {}, False),
    ],
)
def test_a_state_with_a_builder_or_one_that_is_being_written(
    tmp_path: Path, file: str, content: dict[str, object], left: bool
) -> None:
    directory = tmp_path / "stage-0/terraform"
    directory.mkdir(parents=True)
    (tmp_path / "stage-1").mkdir()
    write_json(directory / file, content)
    assert states_in(tmp_path) == ([directory] if left else [])


def test_where_there_is_no_state_nothing_is_destroyed(tmp_path: Path) -> None:
    assert not destroy_states(tmp_path, MemoryPlatform().infrastructure)
