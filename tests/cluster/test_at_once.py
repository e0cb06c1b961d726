"""How many machines an apply works on at the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoneware.cluster.apply import _at_once
from stoneware.terraform.results import Change, Plan


@pytest.mark.parametrize(("processors", "expected"), [(1, 2), (2, 4), (64, 10)])
def test_machines_are_created_by_the_number_of_processors(
    monkeypatch: pytest.MonkeyPatch, processors: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(processors)))
    changes = (Change("stoneware_network.n", "", ("no-op",)), Change("stoneware_machine.a", "", ("create",)))
    assert _at_once(Plan(Path("plan"), changes)) == expected


@pytest.mark.parametrize("actions", [("delete",), ("delete", "create"), ("update",)])
def test_machines_that_are_stopped_are_not_held_back(actions: tuple[str, ...]) -> None:
    changes = (Change("stoneware_machine.a", "", ("create",)), Change("stoneware_machine.b", "", actions))
    assert _at_once(Plan(Path("plan"), changes)) is None
