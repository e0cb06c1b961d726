"""What the stand-in for hashicorp/google serves is what that provider has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.google.provider.data import READERS
from tests.google.provider.documents import Table
from tests.google.provider.schema import Block, differences, document, schemas
from tests.google.provider.servicer import RESOURCES, Servicer

WHOLE = "STONEWARE_GOOGLE_SCHEMA"  # of the real provider: the output of `terraform providers schema -json`


def unknown(table: Table, block: Block, head: str) -> Iterator[str]:
    for name, entry in table.items():
        nested = block.blocks.get(name)
        if nested is not None:
            yield from unknown(entry.fields, nested.block, f"{head}.{name}")
        elif name not in block.attributes:
            yield f"{head}.{name}"


def test_the_tables_name_what_is_in_the_schema() -> None:
    assert RESOURCES.keys() == schemas("resource_schemas").keys()
    assert READERS.keys() == schemas("data_source_schemas").keys()
    for name, resource in RESOURCES.items():
        block = schemas("resource_schemas")[name].block
        assert not list(unknown(resource.table, block, name))
        for change in resource.changes:
            assert change.of.split(".")[0] in {*block.attributes, *block.blocks}


def test_it_is_served() -> None:
    served = Servicer().GetProviderSchema(None)
    blocks = served["resource_schemas"]["google_compute_instance"]["block"]["block_types"]
    boot = next(each for each in blocks if each["type_name"] == "boot_disk")
    assert (boot["nesting"], boot["min_items"], boot["max_items"]) == ("LIST", 1, 1)


def test_it_is_the_schema_of_the_real_provider() -> None:
    if WHOLE not in os.environ:
        pytest.skip(f"{WHOLE} names no schema of hashicorp/google")
    assert not list(differences(document(), document(Path(os.environ[WHOLE]))))


def test_what_differs_from_it_is_named() -> None:
    real = {"a": {"type": "string", "optional": True}}
    served = {"a": {"type": "number"}, "b": {"type": "string"}}
    assert list(differences(served, real)) == ["a.type is 'string', not 'number'", "b is not there"]
