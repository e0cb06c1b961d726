"""H9: a machine that takes all processes of the computer, and limits that come from the operator's shell."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.model.limits import DEFAULT_PIDS_LIMIT, Ulimit
from tests.local.engine_lab import Bench, need_controllers

pytestmark = pytest.mark.machine

# Forks until it may not any more, or has 6,000 children; says how many it had.
BOMB = r"""
my @children;
for (1..6000) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 600; exit }
    push @children, $pid }
open my $out, '>', '/bomb'; print $out scalar @children; close $out;
kill 'KILL', @children;
"""


def pids_max(leader: int) -> str:
    """Return the limit of processes of a machine's own group, whatever control groups the host has."""
    for line in Path(f"/proc/{leader}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "pids" in names.split(","):
            return (Path("/sys/fs/cgroup/pids") / path[1:] / "pids.max").read_text().strip()
    group = Path("/sys/fs/cgroup") / path[1:]
    while group.name != "machine":
        group = group.parent
    return (group / "pids.max").read_text().strip()


def test_a_fork_bomb_ends_at_the_limit_and_nobody_else_notices(lab: Bench) -> None:
    need_controllers("pids")
    lab.boot()
    other = f"{lab.name}-other"
    lab.platform.create(lab.spec(name=other, pids_limit=200, kind="builder"))
    lab.platform.execute(lab.name, ["perl", "-e", BOMB])
    bred = int(lab.read("/bomb"))
    assert DEFAULT_PIDS_LIMIT // 2 < bred < DEFAULT_PIDS_LIMIT
    machine = lab.platform.observe(other)
    assert machine is not None
    assert machine.leader is not None
    assert pids_max(machine.leader) == "200"  # a builder has a limit as well
    assert subprocess.run(["true"], check=False).returncode == 0
    assert lab.sh("true") == 0  # the machine itself goes on too


SHELL = """
import os, resource, signal, sys
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from stoneware.model.machine import MachineSpec
from pathlib import Path
for name in ("NOFILE", "NPROC", "CORE", "STACK", "MEMLOCK"):
    number = getattr(resource, f"RLIMIT_{name}")
    low = {"NOFILE": 300, "NPROC": 5000, "CORE": 0, "STACK": 1 << 20, "MEMLOCK": 4096}[name]
    resource.setrlimit(number, (low, resource.getrlimit(number)[1]))
os.umask(0o077)
os.nice(7)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
Path("/proc/self/oom_score_adj").write_text("500")
LocalPlatform(Store.open(Path(sys.argv[1]))).create(MachineSpec(sys.argv[2], sys.argv[3]))
"""


def limits(pid: int) -> dict[str, tuple[str, str]]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[4:25].strip(): tuple(line[26:].split()[:2]) for line in lines}  # type: ignore[misc]


def test_limits_are_the_machines_own_not_those_of_the_shell(lab: Bench) -> None:
    words = ["chrt", "--fifo", "10", "ionice", "-c3", "setarch", "-R"]
    words += [sys.executable, "-c", SHELL, str(lab.home), lab.name, f"checkpoint:{lab.base}"]
    subprocess.run(words, check=True)
    lab.booted()
    script = "ulimit -n; ulimit -s; ulimit -p; ulimit -l; umask; nice; nproc"
    lab.sh(f"systemd-run --quiet --wait --pipe sh -c '{script}' >/said")
    files, stack, processes, locked, umask, nice, processors = lab.read("/said").split()
    assert (files, stack, umask, nice) == ("1024", "8192", "0022", "0")
    assert int(processes) > 5000
    assert int(locked) > 4
    assert int(processors) == len(os.sched_getaffinity(0))
    for pid in filter(None, (lab.processes().leader, lab.processes().shim)):
        process = Path(f"/proc/{pid}")
        assert os.sched_getscheduler(pid) == os.SCHED_OTHER
        assert (process / "oom_score_adj").read_text() == "0\n"
        assert (process / "personality").read_text() == "00000000\n"
        said = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True)
        assert said.stdout == "none: prio 0\n"
    ignored = re.search(r"SigIgn:\t(\w+)", Path(f"/proc/{lab.processes().shim}/status").read_text())
    assert ignored is not None
    # Those that have names: glibc has two more of its own.
    assert int(ignored[1], 16) & ((1 << 31) - 1) == 0


def test_a_limit_that_was_asked_for_reaches_the_services(lab: Bench) -> None:
    lab.boot(ulimits=(Ulimit("core", 4096, 8192), Ulimit("nofile", 2048, 4096)))
    lab.sh("systemd-run --quiet --wait --pipe sh -c 'ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc' >/said")
    assert lab.read("/said").split() == ["2048", "4096", "8", "16"]
    leader = lab.processes().leader
    assert leader is not None
    assert limits(leader)["open files"][1] == "4096"  # nobody in it can raise it again
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 4096
