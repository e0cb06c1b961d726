"""Stores of tests: the base is made once in a run, and copied to every other store."""

from __future__ import annotations

import shutil
import subprocess

from pathlib import Path

from stoneware.files import locked
from stoneware.local.imagestore import LocalImageStore


def have_base(store: LocalImageStore, *, shared: Path) -> None:
    """Make debian:12, or copy it from the process of the same run that has made it; `shared` is theirs."""
    first = shared / "first-store"
    with locked(shared / "base.lock"):
        if not store.base_identity("debian:12") and first.exists() and Path(first.read_text()).exists():
            copy_base(LocalImageStore.open(Path(first.read_text())), store)
        store.ensure_base("debian:12", refresh=False, progress=lambda _: None)
        first.write_text(str(store.home))


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
