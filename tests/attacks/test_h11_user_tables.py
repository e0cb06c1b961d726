"""H11: root in a machine makes /etc/passwd a FIFO, endless or huge: the host does not wait for it."""

from __future__ import annotations

import contextlib

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.model.execution import Execution
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

TRAPS = {
    "a FIFO": "mkfifo $T",
    "a link to a FIFO": "mkfifo /run/fifo; ln -s /run/fifo $T",
    "endless": "ln -s /dev/zero $T",
    "sparse and huge": "truncate -s 1T $T",
    "a link to itself": "ln -s $T $T",
    "a directory": "mkdir $T",
    "gone": "true",
    "one long line": "head -c 3000000 /dev/zero | tr '\\0' x >$T",
    "numbers that are none": "echo 'web:x:99999999999999999999:-1::/:' >$T",
    "control characters": "printf 'web:x:1:2::/\\033[2J:\\n' >$T",
}


def test_commands_work_whatever_the_tables_are(lab: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    lab.boot()
    for number, (trap, script) in enumerate(TRAPS.items()):
        for table in ("/etc/passwd", "/etc/group")[: 2 if number < 3 else 1]:
            assert lab.sh("mv $T /run/kept; " + script, env={"T": table}) == 0, trap
            capfd.readouterr()
            assert lab.platform.execute(lab.name, ["id", "-u"]) == 0
            assert lab.platform.execute(lab.name, ["id", "-u"], Execution("1234:99")) == 0
            assert capfd.readouterr().out.split() == ["0", "1234"]
            with contextlib.suppress(InputError, MachineError):  # known or not: it is told, and soon
                lab.platform.execute(lab.name, ["true"], Execution("web:web"))
            assert lab.sh("rm -rf $T; mv /run/kept $T", env={"T": table}) == 0
