"""The limits that machines start with: data for systemd-nspawn, prlimit and a machine's own systemd."""

from __future__ import annotations

import os
import resource
import subprocess

import pytest

from stoneware.errors import HostError, InputError
from stoneware.model.limits import UNLIMITED, Ulimit
from stoneware.platforms.local.host import process_limits
from stoneware.platforms.local.host.process_limits import (
    check,
    defaults,
    manager_script,
    nspawn_arguments,
    plain,
)

pytestmark = pytest.mark.pure


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the capability to raise any limit, and nothing unusual of one's own."""
    _with_status(monkeypatch, "CapEff:\tffffffffffffffff\nSigIgn:\t0000000001001000\n")


def _with_status(monkeypatch: pytest.MonkeyPatch, status: str, **files: str) -> None:
    texts = {
        "/proc/self/status": status,
        "/proc/self/oom_score_adj": "0",
        "/proc/self/personality": "00000000",
    }
    texts |= {f"/proc/self/{name}": text for name, text in files.items()}
    read = process_limits._text
    monkeypatch.setattr(process_limits, "_text", lambda path: texts.get(path, "") or read(path))


def flags(words: list[str]) -> dict[str, str]:
    found = [word.removeprefix("--rlimit=RLIMIT_").removeprefix("--").partition("=") for word in words]
    return {name.lower(): value for name, mark, value in found if mark}


@pytest.mark.usefixtures("free")
def test_a_machine_has_a_debian_systems_limits_and_those_that_are_given() -> None:
    found = flags(nspawn_arguments([Ulimit("nofile", 2048, 4096), Ulimit("core", UNLIMITED, UNLIMITED)]))
    assert found["nofile"] == "2048:4096"
    assert found["core"] == "infinity:infinity"
    assert found["stack"] == f"{8 << 20}:infinity"
    assert set(found) == set(defaults())


@pytest.mark.usefixtures("free")
def test_what_runs_a_machine_may_reach_the_machines_limits() -> None:
    words = plain(["shim"], [Ulimit("stack", 1 << 20, 1 << 20), Ulimit("nproc", 7, 10**9)], inherits=False)
    assert words[0] == "prlimit"
    assert words[-1] == "shim"
    found = flags(words[1:-1])
    assert found["stack"] == f"{8 << 20}:unlimited", "a hard limit is never lowered for what starts others"
    # Counted by user, of whom there is the same one in all machines: the soft limit must not be in the way.
    assert found["nproc"] == f"{10**9}:{10**9}"


def test_limits_that_cannot_be_raised_stay_as_high_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_status(monkeypatch, "CapEff:\t0000000000000000\n")
    monkeypatch.setattr(resource, "prlimit", lambda _pid, _number: (10, 100))
    found = flags(nspawn_arguments([]))
    assert found["nofile"] == "100:100"
    assert found["core"] == "0:100"
    check([Ulimit("nofile", 50, 100)])
    with pytest.raises(HostError, match="cannot be raised to 200") as refused:
        check([Ulimit("nofile", 50, 200)])
    assert "100 is the most" in refused.value.details
    with pytest.raises(HostError, match="raised to unlimited"):
        check([Ulimit("core", 1, UNLIMITED)])


@pytest.mark.usefixtures("free")
def test_more_files_than_the_kernel_opens_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_limits, "most_open_files", lambda: 1000)
    check([Ulimit("nofile", 10, 1000)])
    with pytest.raises(InputError, match="nofile=1001") as refused:
        check([Ulimit("nofile", 10, 1001)])
    assert "fs.nr_open=1001" in refused.value.resolution
    assert defaults()["nofile"] == (1024, 1000)


def test_a_machines_systemd_is_told_by_a_file_of_its_own() -> None:
    assert manager_script([]) == ""
    script = manager_script([Ulimit("nofile", 2048, UNLIMITED), Ulimit("core", 0, 0)])
    assert script.startswith("mkdir -p /run/systemd/system.conf.d && ")
    text = subprocess.run(
        [
            "sh",
            "-c",
            script.partition(" && ")[2].replace(">/run/systemd/system.conf.d/zz-stoneware.conf", ""),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert text == "[Manager]\nDefaultLimitNOFILE=2048:infinity\nDefaultLimitCORE=0:0\n"


def test_what_a_shell_has_unusual_is_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    status = (
        "CapEff:\tffffffffffffffff\nSigIgn:\t0000000001001003\n"  # SIGHUP and SIGINT, as by nohup in a script
    )
    _with_status(monkeypatch, status, oom_score_adj="500", personality="00040000")
    monkeypatch.setattr(os, "sched_getscheduler", lambda _pid: os.SCHED_BATCH)
    monkeypatch.setattr(os, "getpriority", lambda _which, _who: 10)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    words = " ".join(plain(["shim"]))
    before, _, _ = words.partition(" prlimit ")
    for part in ("ionice -t -c 0", "env --default-signal", "chrt --other 0", "nice -n -10", "taskset -c 0-7"):
        assert part in before
    assert "oom_score_adj" in before
    assert f"setarch {os.uname().machine}" in before


@pytest.mark.usefixtures("free")
def test_what_a_shell_has_as_usual_costs_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda _pid: os.SCHED_OTHER)
    monkeypatch.setattr(os, "getpriority", lambda _which, _who: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert plain(["shim"])[:6] == ["ionice", "-t", "-c", "0", "prlimit", plain(["shim"])[5]]
    assert plain(["shim"], inherits=False)[0] == "prlimit"
