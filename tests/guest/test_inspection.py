"""The digests of a machine's rendered files, written when they are asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.support import GUEST, FakeMetadata, Root, finish

pytestmark = pytest.mark.tool


def _answer(metadata: FakeMetadata, nonce: str) -> list[str]:
    """Ask for an inspection and return its lines behind the first one."""
    metadata.set(stoneware_inspect=nonce)
    text = metadata.wait_text("stoneware/inspection", lambda text: text.startswith(f"{nonce}\n"))
    return text.splitlines()[1:]


def _written(metadata: FakeMetadata) -> list[str]:
    return str(metadata.reported("stoneware/files")[-1]).splitlines()


@pytest.mark.parametrize("names", [["a-", "a/b", "ą", "żółw"], ["żółw", "a/b", "ą", "a-"], []])
def test_the_list_of_digests_is_sorted_whatever_the_order_of_the_templates(
    tmp_path: Path, names: list[str]
) -> None:
    stage, run = tmp_path / "run/stoneware/stage/files", tmp_path / "run/stoneware"
    for name in names:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(name)
    (run / "md").mkdir(parents=True)
    (run / "md/templates").write_text("".join(f"{len(name)}/{name}\n" for name in names))
    (run / "undigested").touch()
    subprocess.run(["sh", "-c", f". {GUEST}/lib.sh; sw_digests"], env={"SW_ROOT": str(tmp_path)}, check=True)
    listed = [f"{_digest(name)}  /{name}" for name in sorted(names, key=str.encode)]
    assert (run / "rendered").read_text().splitlines() == listed
    assert not stage.exists()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def watched(root: Root, metadata: FakeMetadata) -> Iterator[Root]:
    for name in ("etc/plain", "etc/with blank  s", "etc/back\\slash\\n", "srv/żółw", "etc/-x", "etc/$(id)"):
        root.template(name, "$A")
    root.configure({"A": "1"})
    assert root.run("stoneware-boot").returncode == 0
    status = root.path / "run/stoneware/status.json"
    status.write_text(status.read_text().replace("configuring", "running"))
    process = root.start("stoneware-watch")
    try:
        yield root
    finally:
        finish(process)


def test_files_as_they_are_now(watched: Root, metadata: FakeMetadata) -> None:
    assert _answer(metadata, "first") == _written(metadata)
    watched.put("etc/plain", "changed")
    (watched.path / "etc/with blank  s").unlink()
    (watched.path / "etc/back\\slash\\n").unlink()
    (watched.path / "srv/żółw").unlink()
    (watched.path / "srv/żółw").mkdir()
    os.mkfifo(watched.path / "fifo")
    (watched.path / "etc/-x").unlink()
    (watched.path / "etc/-x").symlink_to("../fifo")
    one = _digest("1")
    assert _answer(metadata, "second nonce") == [
        f"{one}  /etc/$(id)",
        "missing  /etc/-x",
        "\\missing  /etc/back\\\\slash\\\\n",
        f"{_digest('changed')}  /etc/plain",
        "missing  /etc/with blank  s",
        "missing  /srv/żółw",
    ]
    # What the boot agent has written is not touched by that.
    assert {line.partition("  ")[2] for line in _written(metadata)} == {
        "/etc/$(id)",
        "/etc/-x",
        "/etc/back\\\\slash\\\\n",
        "/etc/plain",
        "/etc/with blank  s",
        "/srv/żółw",
    }


def test_a_machine_without_templates_answers_with_the_nonce(root: Root, metadata: FakeMetadata) -> None:
    assert root.run("stoneware-boot").returncode == 0
    process = root.start("stoneware-watch")
    try:
        assert _answer(metadata, "n1") == []
        assert _answer(metadata, "n2") == []
    finally:
        finish(process)


def test_a_question_from_before_the_boot_is_answered(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "fixed")
    metadata.set(stoneware_inspect="earlier")
    assert root.run("stoneware-boot").returncode == 0
    process = root.start("stoneware-watch")
    try:
        assert _answer(metadata, "earlier") == [f"{_digest('fixed')}  /x"]
    finally:
        finish(process)


def test_a_question_while_the_server_is_failing_is_answered_later(
    watched: Root, metadata: FakeMetadata
) -> None:
    assert len(_answer(metadata, "first")) == 6
    with metadata.changed:
        metadata.refuse = 2
    assert len(_answer(metadata, "second")) == 6


def test_the_name_of_a_template_cannot_have_a_line_break(root: Root, metadata: FakeMetadata) -> None:
    root.template("etc/two\nlines", "x")
    assert root.run("stoneware-boot").returncode == 1
    assert "has a line break" in metadata.reported("stoneware/status")[-1]["error"]
    assert not (root.path / "etc/two\nlines").exists()
