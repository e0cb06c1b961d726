"""The stand-in for hashicorp/google is a fork of a process that has loaded it, and lives like a program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from stoneware.provider.plugin import COOKIE
from tests.examples.clusters import wait_for
from tests.google.provider.install import REAL, program_of

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(REAL in os.environ, reason="a real provider is a program of its own"),
]


def test_it_ends_with_whoever_started_it(google_provider: dict[str, str]) -> None:
    # The shell stands for Terraform: it starts the program, and is killed. A socket has to have a short name.
    with (
        TemporaryDirectory(prefix="sw-") as place,
        subprocess.Popen(
            ["sh", "-c", '"$1"; exit', "sh", program_of(google_provider)],
            env={**os.environ, COOKIE: "x", "TMPDIR": place},
            stdout=subprocess.PIPE,
            text=True,
        ) as starter,
    ):
        assert starter.stdout is not None
        address = Path(starter.stdout.readline().split("|")[3])
        assert address.is_relative_to(place)
        assert address.is_socket()
        starter.kill()
        starter.wait()
        wait_for(lambda: not address.exists(), "it has ended")
        assert starter.stdout.read() == ""  # nobody has the other end any more


def test_it_is_a_program_where_nobody_waits(google_provider: dict[str, str]) -> None:
    program = program_of(google_provider).read_text()
    words = program.replace("stoneware-test-", "nobody-waits-")
    assert words != program
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "This is a provider for Terraform" in done.stderr
