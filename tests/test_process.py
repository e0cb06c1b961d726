"""Running programs: their output is bounded, their input is fed, their time is limited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.process import OutputError, ProcessError, run

PYTHON = [sys.executable, "-I", "-S", "-c"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("check", [True, False])
def test_endless_output_ends_with_a_clear_error(stream: str, check: bool) -> None:
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
    with pytest.raises(OutputError, match="says more than 1 MiB, and was ended") as raised:
        run([*PYTHON, code], most=1 << 20, check=check)
    assert raised.value.resolution


def test_what_a_program_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    over = tmp_path / "over"
    wait = f"while not os.path.exists({str(over)!r}): time.sleep(0.05)"
    code = f"import os, time\nif os.fork(): os._exit(0)\nos.write(1, b'x' * 100_000)\n{wait}"
    with pytest.raises(OutputError):
        run([*PYTHON, code], most=1000)
    over.touch()


def test_much_input_and_output_at_once() -> None:
    text = "é" * 3_000_000
    done = run([*PYTHON, "import sys\nfor part in sys.stdin: sys.stdout.write(part)"], stdin=text)
    assert done.stdout == text
    assert done.stderr == ""


def test_input_that_nobody_reads() -> None:
    assert run([*PYTHON, "pass"], stdin="x" * 10_000_000).returncode == 0
    assert run([*PYTHON, "import sys; print(len(sys.stdin.read()))"], stdin="").stdout == "0\n"
    assert run([*PYTHON, "import sys; print(len(sys.stdin.read()))"]).stdout == "0\n"


def test_both_streams_and_the_code() -> None:
    code = "import sys; sys.stdout.write('a'); sys.stderr.buffer.write(b'b\\xff'); sys.exit(3)"
    done = run([*PYTHON, code], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a", "b\udcff")
    with pytest.raises(ProcessError) as raised:
        run([*PYTHON, code])
    assert raised.value.returncode == 3


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(3600)", "import os, time; os.close(1); os.close(2); time.sleep(3600)"]
)
def test_time(code: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run([*PYTHON, code], timeout=0.3)
