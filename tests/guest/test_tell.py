"""Reports of a machine: by bash's own sockets where that works, else by curl."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.guest.support import FakeMetadata, Root

pytestmark = pytest.mark.tool
_REPORT = '. "$SW_ROOT/usr/lib/stoneware/lib.sh"\nsw_report status "$SW_RUN/one" files "$SW_RUN/two"\n'
_CURL = '#!/bin/sh\necho curl >>"$CURLS"\nexec %s "$@"\n'


@pytest.fixture
def curls(root: Root) -> Path:
    """Every start of curl is a line in this file."""
    real = shutil.which("curl")
    assert real
    root.put("bin/curl", _CURL % real, 0o755)
    root.put("run/stoneware/one", '{"phase":"running"}\n')
    root.put("run/stoneware/two", "abc  /a file\n\u00e4\n\n")
    root.put("usr/lib/stoneware/probe", _REPORT)
    return root.path / "curls"


def _run(root: Root, curls: Path, **extra: str) -> None:
    path = f"{root.path / 'bin'}:{os.environ['PATH']}"
    done = root.run("probe", env={"PATH": path, "CURLS": str(curls), **extra})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_reports_start_no_curl_and_arrive_byte_for_byte_in_order(
    root: Root, metadata: FakeMetadata, curls: Path
) -> None:
    _run(root, curls)
    assert metadata.reports == [
        ("stoneware/status", '{"phase":"running"}\n'),
        ("stoneware/files", "abc  /a file\n\u00e4\n\n"),
    ]
    assert not curls.exists()


def test_what_bash_cannot_hold_is_reported_by_curl(root: Root, metadata: FakeMetadata, curls: Path) -> None:
    root.put("run/stoneware/two", b"a\0b\n")
    _run(root, curls)
    assert metadata.reports[-1] == ("stoneware/files", "a\0b\n")
    assert curls.read_text() == "curl\n" * 2


def test_without_bash_curl_reports(root: Root, metadata: FakeMetadata, curls: Path) -> None:
    root.put("bin/bash", "#!/bin/sh\nexit 127\n", 0o755)
    _run(root, curls)
    assert [name for name, _ in metadata.reports] == ["stoneware/status", "stoneware/files"]
    assert curls.read_text() == "curl\n" * 2


def test_what_the_environment_has_for_bash_is_not_run(
    root: Root, metadata: FakeMetadata, curls: Path
) -> None:
    evil = root.put("evil", f"touch {root.path}/ran\n")
    _run(root, curls, BASH_ENV=str(evil))
    assert len(metadata.reports) == 2
    assert not (root.path / "ran").exists()
    assert not curls.exists()
