from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.bake import workdir as workspace
from stoneware.cli import context
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import recover
from stoneware.platforms.local.store.images import LocalImageStore


def test_what_killed_commands_left_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workspace, "recover", lambda _, __, **___: ["a builder"])
    monkeypatch.setattr(recover, "recover", lambda _: ["a machine"])
    store = LocalImageStore(tmp_path)
    platform = context.open_platform(store)
    assert isinstance(platform, LocalPlatform)
    assert platform.store is store
    assert capsys.readouterr() == ("", "a builder\na machine\n")
