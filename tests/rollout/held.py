"""The program, held or killed at a line of a rollout's journal, however late a test would come to it."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.lab import ClusterLab

_BEGINNING = """
import os, signal, sys, threading, time
from pathlib import Path
from stoneware.cli.main import main
from stoneware.rollout.journal import Journal
append = Journal.append
"""
# With all that it has started, so many seconds after a line.
_KILLED = """
left, after = int(sys.argv.pop(1)), float(sys.argv.pop(1))
def mortal(self, event):
    global left
    append(self, event)
    left -= 1
    if not left:
        threading.Timer(after, os.killpg, (0, signal.SIGKILL)).start()
Journal.append = mortal
main()
"""
# It goes on once the file is gone that it makes there.
_HELD = """
name, file = sys.argv.pop(1), Path(sys.argv.pop(1))
def hold(self, event):
    global name
    append(self, event)
    if event.name == name:
        name = ""
        file.touch()
        end = time.monotonic() + 300  # it is not to stay when its test has failed
        while file.exists() and time.monotonic() < end:
            time.sleep(0.01)
Journal.append = hold
main()
"""


def start_mortal(lab: ClusterLab, line: int, after: float, *words: str) -> subprocess.Popen[str]:
    """Start a command that is killed in the middle of what follows a line of its own."""
    program = (sys.executable, "-c", _BEGINNING + _KILLED)
    return lab.start(str(line), str(after), *words, program=program)


def start_held(lab: ClusterLab, event: str, *words: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a command and wait until it has written an event; it goes on when the file is removed."""
    file = lab.directory / f"held-{secrets.token_hex(4)}"
    program = (sys.executable, "-c", _BEGINNING + _HELD)
    process = lab.start(event, str(file), *words, program=program)
    deadline = time.monotonic() + 300
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, file
