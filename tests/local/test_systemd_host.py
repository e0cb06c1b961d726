"""The engine on hosts with systemd as their first process, on cgroup v2 and v1, and after a reboot."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stoneware.platforms.local.store.store import Store
from tests.local.systemd_host import SystemdHost

pytestmark = pytest.mark.machine

_BAKE = """
mkdir -p /root/context
printf '%s\\n' 'FROM debian:12' 'RUN echo made >/made' 'CMD ["sleep", "infinity"]' >/root/context/Machinefile
stoneware bake -t nap /root/context
"""
_KILLED_BAKE = """
mkdir -p /root/slow
printf '%s\\n' 'FROM nap' 'RUN touch /slow && sleep 300' >/root/slow/Machinefile
$stoneware bake -t slow /root/slow >/root/slow.log 2>&1 & # not the function: a shell would be killed
until grep -q 'RUN touch' /root/slow.log; do sleep 0.1; done
kill -KILL $!
stoneware ps -a
"""


@contextmanager
def booted(home: Path, work: Path, groups: str) -> Iterator[SystemdHost]:
    made = SystemdHost(f"sw-host-{secrets.token_hex(3)}", work, Store.open(home), groups)
    try:
        made.boot()
        done = made.run(_BAKE)
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def host(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdHost]:
    with booted(machine_home, tmp_path_factory.mktemp("systemd") / "host", "v2") as made:
        yield made


def ok(host: SystemdHost, script: str) -> str:
    done = host.run(script)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def machines(host: SystemdHost) -> dict[str, dict[str, Any]]:
    return {machine["name"]: machine for machine in json.loads(ok(host, "stoneware ps -a --json"))}


def test_doctor_finds_all_it_needs(host: SystemdHost) -> None:
    ok(host, "stoneware doctor")


def test_a_machine_is_a_service_and_outlives_the_unit_of_its_command(host: SystemdHost) -> None:
    ok(host, "stoneware run -d --name one --wait nap")
    machine = machines(host)["one"]
    assert machine["phase"] == "running"
    unit = f"stoneware-{machine['id']}.service"
    shown = ok(host, f"systemctl show -p ActiveState -p Delegate -p Slice {unit}").split()
    assert sorted(shown) == ["ActiveState=active", "Delegate=yes", "Slice=machine.slice"]
    own = f"/machine.slice/{unit}"
    groups = ok(host, f"cat /proc/$(systemctl show -P MainPID {unit})/cgroup /proc/[0-9]*/cgroup")
    assert f"0::{own}/shim" in groups
    assert f"0::{own}/machine/payload/init.scope" in groups
    # The router's servers were started by a command whose unit is gone.
    pids = [
        json.loads((host.home / f"run/{name}.pid.json").read_text())["pid"]
        for name in ("dnsmasq", "metadata")
    ]
    servers = ok(host, f"cat /proc/{pids[0]}/cgroup /proc/{pids[1]}/cgroup")
    assert servers.count(".scope") == 2
    inside = ok(host, "stoneware exec one cat /made /proc/self/cgroup").splitlines()
    assert inside[0] == "made"
    assert inside[-1].startswith("0::/system.slice/stoneware-exec-")
    ok(host, "stoneware stop one; stoneware start one; stoneware rm -f one")
    assert unit not in ok(host, "systemctl list-units --all --plain 'stoneware-m*'")


def test_a_command_in_a_machine_that_is_removed_after_it(host: SystemdHost) -> None:
    done = host.run("stoneware run --rm --name brief nap sh -c 'echo inside; exit 7'")
    assert (done.returncode, done.stdout.split()[-1]) == (7, "inside")
    assert "brief" not in machines(host)


def test_a_limit_without_its_controller_is_refused(host: SystemdHost) -> None:
    there = ok(host, "cat /sys/fs/cgroup/cgroup.controllers").split()
    done = host.run("stoneware run -d --name small --memory 200m nap")
    if "memory" in there:
        assert done.returncode == 0, done.stderr
        used = "stoneware exec small sh -c 'head -c 400m /dev/zero | tail | wc -c'"
        assert ok(host, f"{used}; stoneware rm -f small").split()[0] == "0"
    else:
        assert (done.returncode, "no control group for memory" in done.stderr) == (3, True)


def test_what_a_killed_bake_left_is_removed(host: SystemdHost) -> None:
    done = host.run(_KILLED_BAKE)
    assert "its builder is destroyed" in done.stderr
    assert not [name for name in machines(host) if name.startswith("bake-")]


def test_a_reboot_powers_machines_off_and_starts_them_again(host: SystemdHost) -> None:
    ok(host, "stoneware run -d --name kept --restart unless-stopped --wait nap")
    ok(host, "stoneware run -d --name other --wait nap")
    host.shut_down()
    assert powered_off(host, "kept")
    host.boot()
    done = host.run("stoneware ps -a")
    assert done.stderr.splitlines() == ["started the machine kept again after the reboot of this computer"]
    assert machines(host)["other"]["phase"] == "stopped"
    ok(host, "stoneware exec kept true")


def powered_off(host: SystemdHost, name: str) -> bool:
    """Say whether a machine went down by itself, and was not killed because it took too long."""
    root = host.home / "data/machines" / name
    said = (root / "console.log").read_text()
    return "Powering off." in said and (root / "run/exit").read_text().split()[0] == "0"


def refuses_version_1() -> bool:
    """Tell whether this computer's systemd will not boot with control groups of version 1, as Debian 13's."""
    version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"systemd (\d+)", version)
    assert found is not None, version
    return int(found[1]) >= 256


def test_a_host_with_control_groups_of_version_1(machine_home: Path, tmp_path: Path) -> None:
    if refuses_version_1():
        pytest.skip("systemd boots without control groups of version 1 from 256 on")
    with booted(machine_home, tmp_path / "host", "v1") as host:
        assert "cgroup2" not in ok(host, "cat /proc/self/mountinfo")
        ok(host, "stoneware run -d --name one --restart always --wait nap; stoneware exec one true")
        assert ok(host, f"systemctl is-active stoneware-{machines(host)['one']['id']}") == "active\n"
        host.shut_down()
        assert powered_off(host, "one")
        host.boot()
        assert "started the machine one again" in host.run("stoneware ps").stderr
        ok(host, "stoneware exec one true; stoneware rm -f one")
