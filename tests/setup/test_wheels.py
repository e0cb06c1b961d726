"""Every locked package has a wheel for the Python of each Debian: set-up compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.setup.index import ROOT

pytestmark = pytest.mark.tool


def configured_index() -> dict[str, str]:
    """Return pip's own index for uv, which does not read pip's settings."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    url = os.environ.get("PIP_INDEX_URL", found)
    return {"UV_DEFAULT_INDEX": url} if url else {}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-lowest.lock"])
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_wheels_for_each_debian(lock: str, python: str, tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--dry-run", "--no-deps"]
    locked = ["--only-binary", ":all:", "--require-hashes", "-r", str(ROOT / lock)]
    platform = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_36"]
    done = subprocess.run(
        [*command, *locked, *platform, "--target", str(tmp_path / "none")],
        env={**os.environ, "UV_SYSTEM_CERTS": "1", **configured_index()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Would install" in done.stderr
