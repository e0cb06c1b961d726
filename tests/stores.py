"""Stores of tests: the base is made once in a run and copied to other stores; none is left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.files import locked
from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.platforms.local.store.recover import teardown
from stoneware.platforms.local.store.store import Store

RUN = "STONEWARE_TEST_RUN"  # the directory that all processes of a run of the tests share
KIND = "stoneware-run-"  # how the names of those directories begin
_FIRST = "first"  # there: the store that has the base


@contextlib.contextmanager
def store_of_run(kept: Path | None) -> Iterator[Path]:
    """Open a store with debian:12 in it; a new one, which is removed afterwards, unless one is to be kept."""
    run = Path(os.environ[RUN])
    home = kept or Path(tempfile.mkdtemp(prefix="stoneware-test-", dir="/var/tmp"))
    mark = run / f"{os.getpid()}.store"
    if not kept:
        mark.write_text(str(home))
    store = LocalImageStore.open(home)
    try:
        with locked(run / "base.lock"):
            _have_base(store, run / _FIRST)
        yield home
    finally:
        if not kept:
            teardown(store, remove=True)
            mark.unlink()


@contextlib.contextmanager
def blank_store(home: Path, size: str = "1G") -> Iterator[Store]:
    """Open a new store of some size, without a base; it is removed afterwards."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STONEWARE_POOL_SIZE", size)
        made = Store.open(home)
    yield made
    teardown(made, remove=True)
    assert not made.home.exists()


def _have_base(store: LocalImageStore, first: Path) -> None:
    if not store.base_identity("debian:12") and first.exists() and (home := Path(first.read_text())).exists():
        copy_base(LocalImageStore.open(home), store)
    store.ensure_base("debian:12", refresh=False, progress=lambda _: None)
    first.write_text(str(store.home))


def remove_left(run: Path) -> None:
    """Remove the stores that processes of a run have left, and the directory of the run."""
    for mark in run.glob("*.store"):
        if (home := Path(mark.read_text())).is_dir():
            teardown(LocalImageStore.open(home), remove=True)
    shutil.rmtree(run, ignore_errors=True)


def copy_base(source: LocalImageStore, target: LocalImageStore) -> None:
    """Copy debian:12 as it is: the tree that mmdebstrap made, and the base made of that."""
    shutil.copy(source.home / "bases/debian-12.json", target.home / "bases")
    identity = source.base_identity("debian:12")
    assert identity is not None
    raw = (source.checkpoint_document(identity) or {})["raw"]
    for key, parent in ((raw, []), (identity, ["-p", str(source.checkpoint_rootfs(raw))])):
        copied = target.data / "checkpoints" / key
        copied.mkdir()
        shutil.copy(source.data / "checkpoints" / key / "document.json", copied)
        command = ["btrfs", "send", "-q", *parent, str(source.checkpoint_rootfs(key))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as send:
            subprocess.run(["btrfs", "receive", "-q", str(copied)], stdin=send.stdout, check=True)
    assert target.base_identity("debian:12") == identity
