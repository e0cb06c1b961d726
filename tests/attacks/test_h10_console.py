"""H10: a machine that writes to its console, or makes our servers write to their logs, without end."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time

import pytest

from stoneware.platforms.local.machines import console
from stoneware.platforms.local.metadata.console_times import LOG_LIMIT
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

FLOOD = (
    "head -c 5000000 /dev/zero | tr '\\0' 'x' | fold -w 99 >/dev/console; printf '\\n%s\\n' {} >/dev/console"
)


def logs(lab: Bench, *words: str) -> list[str]:
    argv = [sys.executable, "-m", "stoneware.cli.main", "logs", *words, lab.name]
    env = {"STONEWARE_HOME": str(lab.home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout.splitlines()


def wait_for(lab: Bench, text: bytes, offset: int) -> tuple[int, int]:
    """Follow the console from an offset on until a text comes; return how much was read, and the offset."""
    read, tail, deadline = 0, b"", time.monotonic() + 300
    while text not in tail:
        assert time.monotonic() < deadline, tail[-200:]
        data, behind = lab.platform.console(lab.name, offset)
        assert behind >= offset + len(data)
        read, offset, tail = read + len(data), behind, (tail + data)[-100_000:]
    return read, offset


def test_a_console_is_bounded_and_can_be_read_while_it_floods(lab: Bench) -> None:
    lab.boot(log_max_size=1 << 20, log_max_file=2)
    directory = lab.paths().root
    before = datetime.datetime.now(datetime.UTC)
    begin = console.span(directory)[1]
    assert lab.sh(FLOOD.format("first-end")) == 0
    _, offset = wait_for(lab, b"first-end", begin)
    assert offset - begin > 5_000_000  # all went through
    sizes = [path.stat().st_size for path in directory.glob("console.log*")]
    assert len(sizes) <= 2
    assert sum(sizes) <= 2 << 20
    assert logs(lab, "-n", "1") == ["first-end"]
    assert 1 << 20 < len("\n".join(logs(lab))) <= 2 << 20
    [line] = logs(lab, "-t", "-n", "1")
    stamp, _, said = line.partition(" ")
    assert said == "first-end"
    came = datetime.datetime.fromisoformat(stamp)
    assert before <= came <= datetime.datetime.now(datetime.UTC)
    lab.sh("echo second-end >/dev/console")
    wait_for(lab, b"second-end", offset)
    deadline = time.monotonic() + 300
    while logs(lab, "--since", "1h", "--until", stamp, "-n", "2") != ["first-end"]:
        assert time.monotonic() < deadline  # the time of the second is noted a moment later
    assert "second-end" in logs(lab, "--since", stamp)
    assert logs(lab, "--since", "2040-01-01T00:00:00Z") == []
    # A machine that was stopped and started goes on where it was.
    end = console.span(directory)[1]
    lab.platform.stop(lab.name)
    lab.platform.start(lab.name)
    lab.booted()
    assert console.span(directory)[1] > end


def test_the_servers_logs_are_bounded(lab: Bench) -> None:
    lab.boot()
    for name in ("dnsmasq.log", "metadata.log"):
        log = lab.store.home / "run" / name
        with log.open("ab") as stream:
            stream.write(b"x" * (LOG_LIMIT + 1))
        deadline = time.monotonic() + 300
        while log.stat().st_size > LOG_LIMIT:
            assert time.monotonic() < deadline
            time.sleep(0.05)
