"""A store over plain directories: what it writes, keeps, refuses and removes needs no btrfs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from stoneware.files import write_json
from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.machines.record import Paths, spec_document
from stoneware.platforms.local.store import btrfs, btrfs_nested, qgroups
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store.store import Store
from stoneware.process_identity import boot_id, identify


def plain_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Make a store on a disk without snapshots: a snapshot is a copy, a subvolume a directory."""

    def copy(source: Path, target: Path, *, read_only: bool) -> None:
        del read_only
        shutil.copytree(source, target, symlinks=True)

    def remove(path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    for name, stand_in in {
        "create": lambda path: path.mkdir(),
        "snapshot": copy,
        "remove_tree": remove,
        "is_subvolume": lambda path: path.is_dir(),
        "on_btrfs": lambda _: True,
    }.items():
        monkeypatch.setattr(btrfs, name, stand_in)
    monkeypatch.setattr(btrfs_nested, "settle", lambda _: None)
    monkeypatch.setattr(btrfs_nested, "left_out", lambda _: [])
    monkeypatch.setattr(qgroups, "mode", lambda _: "")
    monkeypatch.setattr(store_pool, "make", lambda _: None)
    monkeypatch.setattr(store_pool, "mount", lambda home: (home / "data").mkdir(exist_ok=True))
    made = Store(home)
    made._make()
    return made


def put_machine(store: Store, spec: MachineSpec, **state: Any) -> Paths:
    """Write the records of a machine that was started in this boot, and runs no process."""
    paths = Paths(store.data / "machines" / spec.name)
    paths.run.mkdir(parents=True)
    write_json(paths.root / "spec.json", spec_document(spec))
    known = {"id": f"m-{spec.name}", "created": 1.0, "started": 2.0, "boot": boot_id()}
    write_json(paths.root / "state.json", {**known, **state})
    return paths


def runs_as(paths: Paths, pid: int, name: str = "leader") -> None:
    """Have a process be one of a machine's."""
    found = identify(pid)
    assert found is not None
    (paths.run / name).write_text(f"{found.pid} {found.start}\n")
