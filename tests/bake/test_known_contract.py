"""The contract that an image takes over from the one before: only where all of its sources are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoneware.bake.known_contract import NOTE, KnownContract, inputs_inside, inputs_of, known_contract
from stoneware.bake.seal_report import SCHEMA, TEMPLATES, describe_seal
from stoneware.machinefile.recipe import ImageConfig
from tests.bake.bake_store import BakeStore

pytestmark = pytest.mark.pure
TEMPLATE = f"{TEMPLATES}etc/app.conf"
FILES = {
    TEMPLATE: b"port=${PORT:-80}\n",
    SCHEMA: b'{"properties": {"PORT": {"type": "integer"}}}',
    "packages.tsv": b"a\t1\tall\n",
}
ENV = {"ACCENT": "blue"}


def _laid(root: Path) -> Path:
    for name in (TEMPLATE, SCHEMA):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(FILES[name])
    return root


def test_the_same_templates_schema_and_env_are_known_in_an_archive_and_a_tree(tmp_path: Path) -> None:
    expected = inputs_of(FILES, ENV)
    assert inputs_inside(_laid(tmp_path), ENV) == expected
    (tmp_path / "etc/stoneware/commands").mkdir()
    (tmp_path / "etc/stoneware/commands/reload").write_text("#!/bin/sh\n")
    assert inputs_inside(tmp_path, ENV) == expected
    assert inputs_of({**FILES, "packages.tsv": b"another"}, ENV) == expected


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, TEMPLATE: b"port=${PORT:?}\n"},
        {**FILES, SCHEMA: b"{}"},
        {name: content for name, content in FILES.items() if name != SCHEMA},
        {**FILES, f"{TEMPLATES}etc/more.conf": b""},
        {f"{TEMPLATES}etc/other.conf" if name == TEMPLATE else name: text for name, text in FILES.items()},
    ],
)
def test_whatever_it_is_derived_from_counts(files: dict[str, bytes]) -> None:
    assert inputs_of(files, ENV) != inputs_of(FILES, ENV)


def test_the_env_counts() -> None:
    assert len({inputs_of(FILES, env) for env in ({}, ENV, {"ACCENT": "red"}, {"PORT": "blue"})}) == 4


def test_a_link_in_the_place_of_the_templates_is_no_match(tmp_path: Path) -> None:
    root = _laid(tmp_path / "root")
    (root / TEMPLATE).rename(tmp_path / "host.conf")
    (root / TEMPLATE).symlink_to(tmp_path / "host.conf")
    assert inputs_inside(root, ENV) != inputs_of(FILES, ENV)
    assert inputs_inside(tmp_path / "missing", ENV) == inputs_of({}, ENV)


def test_it_is_that_of_the_last_image_of_the_name(tmp_path: Path) -> None:
    store = BakeStore(tmp_path)
    contract: dict[str, Any] = {"variables": {}, "needs": [], "env": {}, "schema": None}
    store.documents["sha256:1"], store.manifests["sha256:1"] = {NOTE: "digest"}, {"contract": contract}
    store.references["app:latest"] = "sha256:1"
    assert known_contract(store, "app") == KnownContract("digest", contract)
    assert known_contract(store, "other") is None
    store.documents["sha256:1"] = {}
    assert known_contract(store, "app") is None


def test_a_known_contract_is_taken_as_it_is_and_equals_a_derived_one() -> None:
    files = {**FILES, "files.sum": b"0" * 64 + b" 3 40\n", "services.tsv": b""}
    config = ImageConfig(env=tuple(ENV.items()))
    derived = describe_seal(files, config, ()).contract
    assert derived["variables"]["PORT"]["default"] == "80"
    assert describe_seal(files, config, (), derived) == describe_seal(files, config, ())
    other = {**derived, "env": {"X": "1"}}
    assert describe_seal(files, config, (), other).contract == other
