"""The journal: what is written is there, what is torn never was, what is edited is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.errors import HostError
from stoneware.platforms.cluster_files import FileLog
from stoneware.rollout.journal import Event, Journal, rollout_ids

pytestmark = pytest.mark.pure


def _event(name: str, rollout: str = "r1", **fields: object) -> Event:
    return Event(1000.5, rollout, name, fields)


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    journal = Journal(FileLog(tmp_path / "sub" / "rollouts.jsonl"))
    events = [_event("begin", plan={"a": [1, "ü\n"]}), _event("note", text="x"), _event("begin", "r2")]
    for event in events:
        journal.append(event)
    assert journal.read() == events
    assert journal.of("r2") == events[2:]
    assert rollout_ids(journal.read()) == ["r1", "r2"]
    assert Path(journal.place).stat().st_mode & 0o777 == 0o600


def test_there_is_no_journal_yet(tmp_path: Path) -> None:
    assert Journal(FileLog(tmp_path / "none")).read() == []


@given(st.integers(0, 200))
def test_a_torn_last_line_counts_as_never_written(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(FileLog(Path(directory) / "rollouts.jsonl"))
        for number in range(3):
            journal.append(_event("note", number=number))
        raw = Path(journal.place).read_bytes()
        cut = min(cut, len(raw))
        Path(journal.place).write_bytes(raw[:cut])
        whole = raw[:cut].count(b"\n")
        assert [event.fields["number"] for event in journal.read()] == list(range(whole))
        journal.append(_event("note", number=9))
        assert [event.fields["number"] for event in journal.read()] == [*range(whole), 9]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting"),
        ("[]", "cannot be read"),
        ('{"v": 2, "time": 1, "rollout": "r1", "event": "x"}', "another version"),
        ('{"v": 1, "time": 1, "event": "x"}', "rollout"),
    ],
)
def test_an_edited_line_is_told_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    journal = Journal(FileLog(tmp_path / "rollouts.jsonl"))
    journal.append(_event("begin"))
    with Path(journal.place).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(HostError) as caught:
        journal.read()
    assert words in caught.value.brief
    assert caught.value.location == f"{journal.place}:2"


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(FileLog(tmp_path / "rollouts.jsonl"))
    journal.append(_event("begin"))
    before = Path(journal.place).read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("stoneware.platforms.cluster_files.os.fsync", full)
    with pytest.raises(HostError, match="No space left"):
        journal.append(_event("stopping", machines=["kafka-1"]))
    assert Path(journal.place).read_bytes() == before
