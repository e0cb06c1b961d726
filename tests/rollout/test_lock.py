"""The mark of a rollout, and what is asked of its driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from stoneware.cluster.directory import ClusterDirectory
from stoneware.errors import InputError
from stoneware.platforms.cluster_files import FileRecords
from stoneware.platforms.cluster_records import Document
from stoneware.rollout.control import RecordControl, put_request
from stoneware.rollout.journal import Event, journal_of
from stoneware.rollout.lock import (
    RolloutUnfinished,
    check_unlocked,
    read_lock,
    remove_lock,
    write_lock,
)


@pytest.fixture
def directory(tmp_path: Path) -> ClusterDirectory:
    return ClusterDirectory(FileRecords(tmp_path))


def begun(directory: ClusterDirectory, rollout: str, *names: str) -> None:
    """Write lines of a rollout into the journal."""
    for name in ("begin", *names):
        journal_of(directory).append(Event(1.0, rollout, name))


def change(directory: ClusterDirectory, **fields: object) -> None:
    path = directory.path / Document.DRIVER
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_mark_and_its_end(directory: ClusterDirectory) -> None:
    check_unlocked(directory)
    assert read_lock(directory) is None
    begun(directory, "r7")
    made = write_lock(directory, "r7")
    assert read_lock(directory) == made
    assert made.alive
    with pytest.raises(RolloutUnfinished) as told:
        check_unlocked(directory)
    assert "r7" in told.value.brief
    assert f"process {os.getpid()}" in told.value.details
    assert "is at work" in told.value.details
    assert "rollout status" in told.value.resolution
    remove_lock(directory)
    remove_lock(directory)
    check_unlocked(directory)


def test_a_dead_driver_is_told(directory: ClusterDirectory) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    begun(directory, "r1", "stopping")
    for fields in ({"pid": ended.pid}, {"pid": os.getpid(), "started": 5}, {"boot": "another"}):
        write_lock(directory, "r1")
        change(directory, **fields)
        with pytest.raises(RolloutUnfinished) as told:
            check_unlocked(directory)
        assert "is gone" in told.value.details
        for word in ("resume", "rollback", "abort"):
            assert word in told.value.resolution


def test_marks_that_a_kill_left_are_removed(directory: ClusterDirectory) -> None:
    write_lock(directory, "r1")
    check_unlocked(directory)
    assert not (directory.path / Document.DRIVER).exists()
    begun(directory, "r1", "stopping", "ended")
    write_lock(directory, "r1")
    check_unlocked(directory)
    assert not (directory.path / Document.DRIVER).exists()


def test_a_driver_on_another_computer_counts_as_living(directory: ClusterDirectory) -> None:
    write_lock(directory, "r1")
    change(directory, host="elsewhere.example", pid=1)
    lock = read_lock(directory)
    assert lock is not None
    assert lock.alive


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rollout": "r1"}', '{"what": 1}'])
def test_a_damaged_mark(directory: ClusterDirectory, text: str) -> None:
    (directory.path / Document.DRIVER).write_text(text)
    with pytest.raises(InputError) as told:
        read_lock(directory)
    assert "history" in told.value.resolution


def test_requests_are_taken_once(directory: ClusterDirectory) -> None:
    control = RecordControl(directory, "r1")
    assert control.request() == ""
    put_request(directory, "r1", "pause", "me")
    assert control.request() == "pause"
    assert control.request() == ""


@pytest.mark.parametrize(
    "document",
    ["", "nonsense", "[]", '{"rollout": "r0", "request": "abort"}', '{"rollout": "r1", "request": "dance"}'],
)
def test_requests_that_are_none(directory: ClusterDirectory, document: str) -> None:
    (directory.path / Document.REQUEST).write_text(document)
    control = RecordControl(directory, "r1")
    assert control.request() == ""
    assert not (directory.path / Document.REQUEST).exists()


def test_a_request_can_be_forgotten(directory: ClusterDirectory) -> None:
    put_request(directory, "r1", "abort", "me")
    control = RecordControl(directory, "r1")
    control.forget()
    control.forget()
    assert control.request() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_second_signal_stops_at_once(directory: ClusterDirectory, number: signal.Signals) -> None:
    said: list[str] = []
    control = RecordControl(directory, "r1", notice=said.append)
    before = signal.getsignal(signal.SIGTERM)
    with control.signals():
        signal.raise_signal(number)
        assert control.request() == "interrupt"
        assert control.request() == ""
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(said) == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_ignored_signals_stay_ignored(directory: ClusterDirectory) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with RecordControl(directory, "r1").signals():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_is_asked_about_a_canary(directory: ClusterDirectory) -> None:
    assert RecordControl(directory, "r1").confirm_canary(["web-1"]) is False
    assert RecordControl(directory, "r1", ask=lambda names: "web-1" in names).confirm_canary(["web-1"])
