from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.engine import EngineBench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineBench:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    return EngineBench(tmp_path / "clusters")
