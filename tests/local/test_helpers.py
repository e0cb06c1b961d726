"""Servers that outlive the command which started them: real processes, small ones."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.errors import HostError
from stoneware.files import write_json
from stoneware.platforms.local.host import helpers
from stoneware.platforms.local.host.helpers import Helper
from stoneware.process_identity import ProcessIdentity, command_line, network_namespace

pytestmark = pytest.mark.pure


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    made = Helper(tmp_path / "run", "dns")
    yield made
    made.stop(0.0)


def ended(pid: int) -> bool:
    """Wait for the end of a process that is no child of ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60)[0])
    finally:
        os.close(descriptor)


def test_it_runs_in_a_session_of_its_own_and_is_known_again(helper: Helper) -> None:
    started = helper.spawn(["sh", "-c", 'echo "$WORD"; pwd; exec sleep 1000'], env={"WORD": "hello"})
    assert Helper(helper.directory, "dns").process() == started
    assert Helper(helper.directory, "other").process() is None
    assert os.getsid(started.pid) not in (os.getsid(0), 0)
    while helper.log.read_text() != "hello\n/\n":
        assert started.alive
    helper.stop()
    assert ended(started.pid)
    assert helper.process() is None
    assert not helper.record.exists()
    helper.stop()  # no error


def test_one_that_does_not_listen_is_ended_by_force(helper: Helper) -> None:
    started = helper.spawn(["sh", "-c", "trap '' TERM; echo; exec sleep 1000"])
    while helper.log.read_text() != "\n":
        assert started.alive
    helper.stop(0.02)
    assert ended(started.pid)


def test_it_can_be_told_to_read_its_settings_again(helper: Helper) -> None:
    started = helper.spawn(["sh", "-c", "trap 'echo again; exit' HUP; echo; while :; do sleep 0.01; done"])
    while helper.log.read_text() != "\n":
        assert started.alive
    helper.reload()
    assert ended(started.pid)
    assert helper.log.read_text() == "\nagain\n"
    helper.reload()  # no error


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"[]",
        b'{"pid": 1}',
        b'{"pid": "x", "start": 1}',
        b'{"pid": 1, "start": null}',
    ],
)
def test_a_damaged_record_is_of_no_process(helper: Helper, record: bytes) -> None:
    helper.directory.mkdir()
    helper.record.write_bytes(record)
    assert helper.process() is None


def test_a_number_that_was_given_to_another_process_is_not_taken_for_it(helper: Helper) -> None:
    helper.directory.mkdir()
    write_json(helper.record, {"pid": os.getpid(), "start": 1})
    assert helper.process() is None
    helper.stop()  # which would end this test
    helpers._signal(ProcessIdentity(os.getpid(), 1), signal.SIGKILL)


def test_what_it_said_last_says_why_it_does_not_start(helper: Helper) -> None:
    assert helper.failure().details == ""
    helper.directory.mkdir()
    helper.log.write_bytes(b"".join(b"line %d\n" % number for number in range(9)) + b"\xff\n")
    error = helper.failure()
    assert error.brief == "the store's dns does not start"
    assert error.details == "line 5\nline 6\nline 7\nline 8\n\ufffd"
    assert str(helper.log) in error.resolution


def test_one_that_has_ended_before_it_is_known_is_an_error(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "identify", lambda _: None)
    with pytest.raises(HostError, match="the store's dns does not start"):
        helper.spawn(["true"])
    assert not helper.record.exists()


def test_a_long_log_is_begun_again(helper: Helper) -> None:
    helper.directory.mkdir()
    helper.log.write_bytes(b"x" * helpers._LOG_LIMIT)
    helper.spawn(["sleep", "1000"])
    assert helper.log.stat().st_size == helpers._LOG_LIMIT  # not yet
    helper.stop()
    with helper.log.open("ab") as stream:
        stream.write(b"y")
    helper.spawn(["sleep", "1000"])
    assert helper.log.stat().st_size == 0


def test_those_whose_record_is_lost_are_found_by_a_word(helper: Helper) -> None:
    word = f"0.{os.getpid()}"
    started = helper.spawn(["sleep", "1000", word])
    helper.record.unlink()
    namespace = network_namespace(os.getpid())
    assert namespace is not None
    while network_namespace(started.pid) != namespace or command_line(started.pid)[-1:] != [word]:
        assert started.alive
    assert helpers.end_strays(namespace + 1, word) == 0
    assert helpers.end_strays(namespace, word) == 1
    assert ended(started.pid)
