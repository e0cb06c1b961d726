"""A look at a cluster's files in another process: its answer, its failures, and that nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stoneware.cli.meanwhile import Meanwhile, Named
from stoneware.errors import InputError

pytestmark = pytest.mark.pure


def alone(code: str) -> str:
    """Run code in a Python of one thread, and return what it prints."""
    begin = "import os\nfrom pathlib import Path\nfrom stoneware.cli.meanwhile import Meanwhile, Named\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def test_the_look_is_in_another_process() -> None:
    said = alone(
        "with Meanwhile(lambda: Named(str(os.getpid()), (Path('/a'), Path('b\\udcff')))) as going:\n"
        "    found = going.result()\n"
        "print(found.name != str(os.getpid()), found.files == (Path('/a'), Path('b\\udcff')))\n"
    )
    assert said == "True True\n"


def test_what_fails_there_is_done_here_and_said_once() -> None:
    said = alone(
        "def look():\n"
        "    print('looks', flush=True)\n"
        "    raise ValueError('wrong')\n"
        "with Meanwhile(look) as going:\n"
        "    try: going.result()\n"
        "    except ValueError as error: print(error)\n"
    )
    assert said == "looks\nwrong\n"


def test_a_look_that_is_killed_is_done_here() -> None:
    said = alone(
        "here = os.getpid()\n"
        "def look():\n"
        "    if os.getpid() != here: os.kill(os.getpid(), 9)\n"
        "    return Named('here', ())\n"
        "with Meanwhile(look) as going: print(going.result().name)\n"
    )
    assert said == "here\n"


def test_one_that_nobody_waits_for_is_ended() -> None:
    began = time.monotonic()
    said = alone(
        "import time\n"
        "with Meanwhile(lambda: time.sleep(50)): pass\n"
        "try: os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError: print('none')\n"
    )
    assert said == "none\n"
    assert time.monotonic() - began < 40


def test_what_can_be_looked_at_once_is_looked_at_here() -> None:
    with Meanwhile(lambda: Named(str(os.getpid()), (Path("x"),)), alone=True) as going:
        assert going.result() == Named(str(os.getpid()), (Path("x"),))


def test_its_errors_come_out_as_they_are() -> None:
    def look() -> Named:
        raise InputError("the file is wrong")

    with Meanwhile(look, alone=True) as going, pytest.raises(InputError, match="the file is wrong"):
        going.result()
