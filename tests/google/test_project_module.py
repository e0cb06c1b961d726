"""The module that sets a project up: read by Terraform, and with the permissions that doctor asks for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from stoneware.platforms.google.intake import PUSHES
from stoneware.platforms.google.permissions import FOR_BAKES, FOR_CLUSTERS, FOR_PUBLIC_ADDRESSES
from stoneware.terraform.configuration import MODULES
from stoneware.terraform.engine import LibraryEngine

MODULE = MODULES / "google/project"
FILES = sorted(MODULE.glob("*.tf"))


def text(name: str) -> str:
    return (MODULE / name).read_text()


def test_its_files_are_short() -> None:
    assert [path.name for path in FILES] == ["github.tf", "main.tf", "outputs.tf", "roles.tf", "variables.tf"]
    assert max(len(path.read_text().splitlines()) for path in FILES) <= 150


def test_the_role_has_what_doctor_asks_for() -> None:
    granted = set(re.findall(r'"(compute\.[A-Za-z.]+)"', text("roles.tf")))
    assert not {*FOR_BAKES, *FOR_CLUSTERS, *FOR_PUBLIC_ADDRESSES} - granted


def test_what_computers_that_died_have_left_in_the_bucket_goes() -> None:
    assert f'matches_prefix = ["bakes/", "{PUSHES}"]' in text("main.tf")


def test_every_variable_is_used_and_every_reference_leads_to_something() -> None:
    whole = "\n".join(path.read_text() for path in FILES)
    assert set(re.findall(r"\bvar\.(\w+)", whole)) == set(re.findall(r'^variable "(\w+)"', whole, re.M))
    resources = {".".join(found) for found in re.findall(r'^resource "(\w+)" "(\w+)"', whole, re.M)}
    assert set(re.findall(r"\b(google_\w+\.\w+)\b", whole)) <= resources


@pytest.mark.tool
def test_terraform_reads_it(tmp_path: Path) -> None:
    """`fmt` parses each file, and says which is not written as Terraform writes it."""
    engine = LibraryEngine()
    try:
        for path in FILES:
            (tmp_path / path.name).write_bytes(path.read_bytes())
        checked = ["fmt", "-check", "-diff", str(tmp_path)]
        done = engine.run(checked, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, None)
        assert (done.code, done.stdout) == (0, ""), done.stderr
        (tmp_path / "torn.tf").write_text('resource "x" {\n')
        assert engine.run(checked, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, None).code != 0
    finally:
        engine.close()
