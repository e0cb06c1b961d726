from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.support import SHELLS, FakeMetadata, Root, serving


@pytest.fixture
def metadata() -> Iterator[FakeMetadata]:
    with serving() as server:
        yield server


@pytest.fixture(params=sorted(SHELLS))
def root(request: pytest.FixtureRequest, metadata: FakeMetadata) -> Iterator[Root]:
    # Not tmp_path: other users, as which steps run, cannot enter pytest's directories.
    with tempfile.TemporaryDirectory(prefix="stoneware-test-") as top:
        Path(top).chmod(0o755)
        yield Root(Path(top) / "root", metadata, request.param)
