from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.support import SHELLS, FakeMetadata, Root, serving


@pytest.fixture
def metadata() -> Iterator[FakeMetadata]:
    with serving() as server:
        yield server


@pytest.fixture(params=sorted(SHELLS))
def root(request: pytest.FixtureRequest, tmp_path: Path, metadata: FakeMetadata) -> Root:
    return Root(tmp_path / "root", metadata, request.param)
