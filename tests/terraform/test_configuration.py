"""Writing a configuration."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stoneware.model.machine import MachineSpec
from stoneware.provider.infrastructure import BUILDER_MODULE, CLUSTER_MODULE
from stoneware.terraform import variables
from stoneware.terraform.configuration import (
    IMPORTS_FILE,
    LIFT_VOLUMES,
    MODULES,
    import_blocks,
    write_configuration,
)


def test_the_builders_module_and_its_variables(tmp_path: Path) -> None:
    directory = tmp_path / "builds" / "b1" / "terraform"
    tfvars = {"name": "b1", "boot_source": "checkpoint:abc", "metadata": {"k": 'a"${x}\n%{y}'}}
    write_configuration(directory, BUILDER_MODULE, tfvars)
    assert {path.name for path in directory.iterdir()} == {
        "main.tf",
        "variables.tf",
        "outputs.tf",
        "terraform.tfvars.json",
    }
    variables = directory / "terraform.tfvars.json"
    assert json.loads(variables.read_text()) == tfvars
    assert variables.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


def test_writing_again_replaces_everything_and_keeps_the_state(tmp_path: Path) -> None:
    write_configuration(tmp_path, BUILDER_MODULE, {"name": "old"})
    (tmp_path / "terraform.tfstate").write_text("{}")
    (tmp_path / "gone.tf").write_text("# of an older version\n")
    write_configuration(tmp_path, BUILDER_MODULE, {"name": "new"})
    assert "new" in (tmp_path / "terraform.tfvars.json").read_text()
    assert not (tmp_path / "gone.tf").exists()
    assert (tmp_path / "terraform.tfstate").exists()


def test_what_only_the_root_can_say_stands_next_to_the_module(tmp_path: Path) -> None:
    root = {"provider": {"google": {"poll_interval": "2s"}}}
    write_configuration(tmp_path, CLUSTER_MODULE, {}, root=root)
    written = tmp_path / "root.tf.json"
    assert json.loads(written.read_text()) == root
    before = written.stat().st_ino
    write_configuration(tmp_path, CLUSTER_MODULE, {}, root=root)
    assert written.stat().st_ino == before
    write_configuration(tmp_path, CLUSTER_MODULE, {})
    assert not written.exists()


def test_only_what_differs_is_written_again(tmp_path: Path) -> None:
    write_configuration(tmp_path, CLUSTER_MODULE, {})
    texts = {path: path.read_text() for path in tmp_path.glob("*.tf")}
    before = {path: path.stat().st_ino for path in texts}
    changed, cut, link, *_ = sorted(texts)
    changed.write_text("# of an older version\n")
    cut.write_text(texts[cut][:-1])
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    write_configuration(tmp_path, CLUSTER_MODULE, {})
    assert {path: path.read_text() for path in texts} == texts
    assert not link.is_symlink()
    written = {path for path, inode in before.items() if path.stat().st_ino != inode}
    assert written == {changed, cut, link}


def test_the_clusters_module_and_what_lifts_its_guard(tmp_path: Path) -> None:
    tfvars: dict[str, Any] = {"volumes": {"data": {"labels": {}}}}
    write = partial(
        write_configuration, tmp_path, CLUSTER_MODULE, tfvars, variables_file="machines.auto.tfvars.json"
    )
    write(overrides=[LIFT_VOLUMES])
    assert "prevent_destroy = false" in (tmp_path / LIFT_VOLUMES).read_text()
    assert json.loads((tmp_path / "machines.auto.tfvars.json").read_text()) == tfvars
    write()
    assert {path.name for path in tmp_path.iterdir()} == {
        "main.tf",
        "networks.tf",
        "volumes.tf",
        "machines.tf",
        "variables.tf",
        "outputs.tf",
        "machines.auto.tfvars.json",
    }


def test_the_modules_variables_take_what_is_made_for_them(tmp_path: Path) -> None:
    write_configuration(tmp_path, CLUSTER_MODULE, {})
    text = (tmp_path / "variables.tf").read_text()
    declared = text[text.index('variable "machines"') :]
    made = variables.machine(MachineSpec("m1", "image:x"))
    assert sorted(made) == sorted(re.findall(r"^    (\w+) += ", declared, re.MULTILINE))
    resource = (tmp_path / "machines.tf").read_text()
    used = re.findall(r"^  (\w+) += each\.value\.(\w+)$", resource, re.MULTILINE)
    assert sorted(made) == sorted(name for name, _ in used)
    assert all(name == value for name, value in used)


def test_the_types_of_a_machines_fields_are_written(tmp_path: Path) -> None:
    write_configuration(tmp_path, CLUSTER_MODULE, {})
    text = (tmp_path / "variables.tf").read_text()
    lines = [line.partition(" #")[0].split("=", 1) for line in text.splitlines()]
    types = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
    assert types["name"] == "string"
    assert types["memory"] == "optional(number)"
    assert types["stop_timeout"] == "optional(number, 10)"
    assert types["networks"] == "optional(list(string), [])"
    assert types["labels"] == "optional(map(string), {})"
    volume = "object({ volume = string, path = string, read_only = optional(bool, false) })"
    assert types["volumes"] == f"optional(list({volume}), [])"
    assert types["process"].startswith("optional(object({ command = optional(list(string), []), user = ")


def test_there_is_no_such_module(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="local/nothing"):
        write_configuration(tmp_path, MODULES / "local/nothing", {})


@pytest.mark.parametrize(
    "path", sorted(MODULES.rglob("*.tf")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_every_variable_and_output_is_described(path: Path) -> None:
    text = path.read_text()
    blocks = re.findall(r'^(?:variable|output) "(\w+)" \{(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    assert [name for name, body in blocks if "description" not in body] == []


def test_blocks_that_import_are_there_for_one_command_only(tmp_path: Path) -> None:
    path = tmp_path / IMPORTS_FILE
    with import_blocks(tmp_path, {'a.b["k"]': "one", "a.c": "${x}%{y}"}):
        assert json.loads(path.read_text()) == {
            "import": [{"to": 'a.b["k"]', "id": "one"}, {"to": "a.c", "id": "$${x}%%{y}"}]
        }
    assert not path.exists()
    path.write_text("{}")  # as a kill leaves it
    with import_blocks(tmp_path, {}):
        assert not path.exists()
