from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.clusters import wait_for
from tests.guest.bakes import Bake
from tests.guest.support import SHELLS, FakeMetadata, Root, finish, serving


@pytest.fixture
def metadata() -> Iterator[FakeMetadata]:
    with serving() as server:
        yield server


@pytest.fixture(params=sorted(SHELLS))
def root(request: pytest.FixtureRequest, metadata: FakeMetadata) -> Iterator[Root]:
    # Not tmp_path: other users, as which steps run, cannot enter pytest's directories.
    top = Path(tempfile.mkdtemp(prefix="stoneware-test-"))
    try:
        top.chmod(0o755)
        yield Root(top / "root", metadata, request.param)
    finally:
        wait_for(lambda: _removed(top), "nothing of the test writes any more")


@pytest.fixture
def bake(root: Root, metadata: FakeMetadata) -> Iterator[Bake]:
    builder = Bake(root, metadata)
    yield builder
    if builder.process is not None:
        finish(builder.process)


def _removed(directory: Path) -> bool:
    """Remove a directory in which what a test has started may still be writing."""
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()
