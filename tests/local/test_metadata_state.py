"""The metadata server's files: reports within their limits, machines told by address, changes seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.platforms.local.metadata import state


def machine(tmp_path: Path, name: str, ip: str) -> Path:
    directory = tmp_path / "machines" / name
    directory.mkdir(parents=True)
    write_json(directory / "network.json", {"ip": ip})
    return directory


def test_reports_are_written_replaced_and_removed(tmp_path: Path) -> None:
    assert not state.set_guest_attribute(tmp_path, "ns/key", "one\n\x00é")
    assert state.set_guest_attribute(tmp_path, "ns/key", "two")
    assert state.read_guest_attributes(tmp_path) == {"ns/key": "two"}
    assert state.set_guest_attribute(tmp_path, "ns/key", None)
    assert not state.set_guest_attribute(tmp_path, "ns/key", None)
    assert state.read_guest_attributes(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["guest-attributes.json"]


def test_a_value_has_a_limit_in_bytes(tmp_path: Path) -> None:
    state.set_guest_attribute(tmp_path, "ns/key", "é" * (state.VALUE_LIMIT // 2))
    with pytest.raises(state.LimitError, match="32768 bytes"):
        state.set_guest_attribute(tmp_path, "ns/other", "é" * (state.VALUE_LIMIT // 2) + "x")
    assert list(state.read_guest_attributes(tmp_path)) == ["ns/key"]


def test_all_values_have_a_limit_and_making_room_helps(tmp_path: Path) -> None:
    fits = state.TOTAL_LIMIT // (state.VALUE_LIMIT + len("ns/00"))
    for index in range(fits):
        state.set_guest_attribute(tmp_path, f"ns/{index:02}", "x" * state.VALUE_LIMIT)
    with pytest.raises(state.LimitError, match="together"):
        state.set_guest_attribute(tmp_path, "ns/99", "x" * state.VALUE_LIMIT)
    state.set_guest_attribute(tmp_path, "ns/00", None)
    state.set_guest_attribute(tmp_path, "ns/99", "x" * state.VALUE_LIMIT)


def test_a_torn_file_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "guest-attributes.json").write_text('{"a/b": ')
    assert state.read_guest_attributes(tmp_path) == {}
    state.set_guest_attribute(tmp_path, "a/b", "c")
    assert json.loads((tmp_path / "guest-attributes.json").read_text()) == {"a/b": "c"}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 129, "a.b", "a\n"])
def test_bad_names(name: str) -> None:
    assert not state.valid_name(name)


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 128])
def test_good_names(name: str) -> None:
    assert state.valid_name(name)


def test_machines_are_told_by_address_as_they_come_and_go(tmp_path: Path) -> None:
    peers = state.MachinesByAddress(tmp_path / "machines")
    assert peers.find("10.0.0.1") is None
    first = machine(tmp_path, "h1", "10.0.0.1")
    assert peers.find("10.0.0.1") == first
    second = machine(tmp_path, "h2", "10.0.0.2")
    machine(tmp_path, ".staged", "10.0.0.3")
    assert peers.find("10.0.0.2") == second
    assert peers.find("10.0.0.3") is None
    write_json(first / "network.json", {"ip": "10.0.0.9"})
    assert peers.find("10.0.0.1") is None
    assert peers.find("10.0.0.9") == first
    (second / "network.json").unlink()
    assert peers.find("10.0.0.2") is None


def test_a_tree_is_read_again_when_a_document_changed(tmp_path: Path) -> None:
    directory = machine(tmp_path, "h1", "10.0.0.1")
    trees = state.Trees(tmp_path / "project.json")
    first = trees.read(directory)
    assert trees.read(directory).tree is first.tree
    for index, (name, value) in enumerate(
        [
            ("metadata.json", {"attributes": {"a": "b"}}),
            ("spec.json", {"memory": 2**30}),
            ("network.json", {"ip": "10.0.0.2"}),
            ("guest-attributes.json", {"a/b": "c"}),
        ]
    ):
        before = trees.stamps(directory)
        write_json(directory / name, value)
        assert trees.stamps(directory) != before, index
    write_json(tmp_path / "project.json", {"project-id": "p"})
    facts = trees.read(directory).facts
    assert (facts.attributes, facts.guest, facts.project) == ({"a": "b"}, {"a/b": "c"}, {"project-id": "p"})
    assert (facts.network["ip"], facts.spec["memory"]) == ("10.0.0.2", 2**30)
