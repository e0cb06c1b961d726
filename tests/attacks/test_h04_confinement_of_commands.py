"""H4: a command in a machine has what the machine's services have, and nothing of the operator's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.platforms.local.host import ready_filters
from stoneware.scratch import scratch_directory
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

STATUS = (
    "grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' /proc/self/status; cat /proc/self/cgroup /proc/self/limits"
)
# The operator: has a session keyring with a key, an open file, and an environment; runs exec.
OPERATOR = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
ADD_KEY, KEYCTL, JOIN = 248, 250, 1
assert libc.syscall(KEYCTL, JOIN, b"operator-session") > 0
key = libc.syscall(ADD_KEY, b"user", b"operator-key", b"the secret", 10, -3)
assert key > 0, os.strerror(ctypes.get_errno())
kept = os.open("/etc/shadow", os.O_RDONLY); os.set_inheritable(kept, True)
os.environ["OPERATORS_SECRET"] = "hush"
words = [word.replace("KEY", str(key)) for word in sys.argv[1:]]
os.execv(sys.executable, [sys.executable, "-m", "stoneware.cli.main", *words])
"""
THIEF = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int argc, char **argv) {
    char found[100] = {0};
    long key = syscall(SYS_keyctl, 10 /* SEARCH */, -3, "user", "operator-key", 0);
    if (key > 0 && syscall(SYS_keyctl, 11 /* READ */, key, found, 99) > 0) printf("stolen: %s\n", found);
    if (syscall(SYS_keyctl, 11, atol(argv[1]), found, 99) > 0) printf("stolen: %s\n", found);
    printf("looked\n");
    return 0;
}
"""


def test_a_command_has_what_a_service_has(lab: Bench) -> None:
    lab.boot()
    script = "#!/bin/sh\n" + STATUS
    unit = "[Service]\nType=oneshot\nStandardOutput=file:/run/of-a-service\nExecStart=/root/look\n"
    made = 'printf %s "$LOOK" >/root/look; chmod 755 /root/look'
    unit_made = 'printf %s "$UNIT" >/run/systemd/system/p.service'
    script_of_all = f"{made}; {unit_made}; systemctl start p"
    assert lab.sh(script_of_all, env={"LOOK": script, "UNIT": unit}) == 0
    service = _without_group(lab.read("/run/of-a-service"))
    assert "Seccomp:\t2" in service
    for options in ({}, {"tty": True}):
        assert lab.sh("/root/look >/run/of-a-command", **options) == 0
        command = lab.read("/run/of-a-command")
        assert "0::/system.slice/stoneware-exec-" in command
        assert _without_group(command) == service


def test_a_machines_filters_are_those_that_nspawn_makes(lab: Bench) -> None:
    """Ready filters are a matter of speed: the kernel has the same ones, instruction by instruction."""
    if not ready_filters.prefix(lab.store.data):
        pytest.skip("the kernel does not tell filters here, so none are ready")
    with scratch_directory("test-filters-", lab.store.data) as directory:
        made = ready_filters.capture(directory)
    assert len(made) > 1
    leader = lab.boot().leader
    assert leader is not None
    assert ready_filters.read_filters(leader) == made


def _without_group(text: str) -> list[str]:
    # As many processes as the machine may have: a service of its own has a share of them.
    return [line for line in text.splitlines() if not line.startswith("0::")]


def test_nothing_of_the_operators_comes_along(lab: Bench, compiled: Callable[[str], Path]) -> None:
    lab.boot()
    lab.platform.copy_in(compiled(THIEF), lab.name, "/root/thief")
    look = "/root/thief KEY; ls /proc/self/fd; cat /proc/$$/environ | tr '\\0' '\\n'"
    done = subprocess.run(
        [sys.executable, "-c", OPERATOR, "exec", lab.name, "sh", "-c", look],
        env={**os.environ, "STONEWARE_HOME": str(lab.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()
    assert said[0] == "looked"
    assert said[1:5] == ["0", "1", "2", "3"], "3 is the listing's own"
    names = {line.partition("=")[0] for line in said[5:]}
    assert names == {"PATH", "HOME", "container", "PWD"}
