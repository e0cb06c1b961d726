"""What is said between us and the process that Terraform runs in, and how that is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stoneware.terraform import engine as engines
from stoneware.terraform import worker
from stoneware.terraform.engine import LibraryEngine

pytestmark = pytest.mark.pure

ARGV = ["-chdir=/a b", "apply", "-target=x", "", "-var=ä\n\udcff"]
NEXT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from worker import _Inbox
print(ascii(_Inbox().next()), flush=True)
os._exit(0)  # as the worker ends
"""


def taken(sent: bytes) -> str:
    """Return what a worker takes for its command, as Python shows it."""
    words = [sys.executable, "-I", "-S", "-c", NEXT, str(Path(worker.__file__).parent)]
    done = subprocess.run(words, input=sent, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().strip()


def test_words_of_any_bytes_arrive() -> None:
    assert taken(worker.request(ARGV, 1.5)) == ascii([os.fsencode(word) for word in ARGV])


@pytest.mark.parametrize("lacking", [1, 12, 38], ids=["a byte", "a word", "all but the lengths"])
def test_a_command_whose_sender_was_killed_on_the_way_is_none(lacking: int) -> None:
    assert taken(worker.request(ARGV, 0)[:-lacking]) == "None"


def test_half_of_a_first_line_is_no_command() -> None:
    assert taken(b"0.000") == "None"


def test_an_end_that_is_cut_off_is_waited_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[threading.Thread] = []

    def strikes(*_: object) -> None:
        raise KeyboardInterrupt

    def drains(process: subprocess.Popen[bytes]) -> None:
        process.communicate()
        waited.append(threading.current_thread())

    engine = LibraryEngine()
    engine._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    engine._errors = os.memfd_create("errors")
    monkeypatch.setattr(engine, "_exchange", strikes)
    monkeypatch.setattr(engines, "_drain", strikes)
    with pytest.raises(KeyboardInterrupt):
        engine.run(["apply"], {}, None)
    monkeypatch.setattr(engines, "_drain", drains)
    engine.close()
    # Here, not in a thread behind us: a command runs in it.
    assert waited == [threading.current_thread()]
