"""The services that run beside the image's own: health check, watch, process wrapper."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from stoneware.guest.units import health_override
from stoneware.machinefile.recipe import HealthCheck
from tests.guest.support import FakeMetadata, Root, finish

pytestmark = pytest.mark.tool
IMAGE = "usr/lib/stoneware/image"


def _healthcheck(root: Root, command: str, **times: int) -> None:
    words = {"interval": 100, "timeout": 1000, "start_period": 0, "start_interval": 50, "retries": 3, **times}
    root.put(f"{IMAGE}/healthcheck", " ".join(f"{key}={value}" for key, value in words.items()) + "\n")
    root.put(f"{IMAGE}/healthcheck.argv", f"set -- sh -c '{command}'\n")


def test_health_goes_from_starting_to_healthy_to_unhealthy(root: Root, metadata: FakeMetadata) -> None:
    flag = root.path / "flag"
    _healthcheck(root, f"echo said; test -e {flag}", start_period=20000)
    process = root.start("stoneware-health")
    try:
        first = metadata.wait_report("stoneware/health", lambda r: r["failing"] > 0)
        assert (first["status"], first["exit"], first["output"]) == ("starting", 1, "said")
        flag.touch()
        healthy = metadata.wait_report("stoneware/health", lambda r: r["status"] == "healthy")
        assert (healthy["exit"], healthy["failing"]) == (0, 0)
        flag.unlink()
        sick = metadata.wait_report("stoneware/health", lambda r: r["status"] == "unhealthy")
        assert sick["failing"] == 3
        assert [r["failing"] for r in metadata.reported("stoneware/health") if r["status"] == "healthy"] == [
            0,
            1,
            2,
        ]
        flag.touch()
        before = len(metadata.reported("stoneware/health"))
        with metadata.changed:
            assert metadata.changed.wait_for(
                lambda: '"healthy"' in metadata.reports[-1][1] and len(metadata.reports) > before, 10
            )
    finally:
        finish(process)


def test_a_machine_that_never_gets_healthy_is_unhealthy_after_its_retries(
    root: Root, metadata: FakeMetadata
) -> None:
    _healthcheck(root, "echo no >&2; exit 3")
    process = root.start("stoneware-health")
    try:
        sick = metadata.wait_report("stoneware/health", lambda r: r["status"] == "unhealthy")
        assert (sick["exit"], sick["output"]) == (3, "no")
    finally:
        finish(process)


def test_a_check_that_hangs_is_ended_and_long_output_is_cut(root: Root, metadata: FakeMetadata) -> None:
    _healthcheck(root, 'head -c 5000 /dev/zero | tr "\\0" x; sleep 100', timeout=200)
    process = root.start("stoneware-health")
    try:
        sick = metadata.wait_report("stoneware/health", lambda r: r["status"] == "unhealthy")
        assert sick["exit"] == 124
        assert sick["output"].endswith("took longer than 200 ms")
        assert len(sick["output"]) <= 1024
    finally:
        finish(process)


@pytest.mark.parametrize(("kind", "limit"), [("qemu", 1000), ("kvm", 100)])
def test_a_health_check_has_more_time_where_the_kernel_runs_in_software(
    root: Root, metadata: FakeMetadata, kind: str, limit: int
) -> None:
    (root.path / "run/systemd/container").unlink()
    root.put("programs/systemd-detect-virt", f"#!/bin/sh\necho {kind}\n", 0o755)
    _healthcheck(root, "sleep 100", timeout=100)
    process = root.start("stoneware-health", env={"PATH": f"{root.path}/programs:{os.environ['PATH']}"})
    try:
        sick = metadata.wait_report("stoneware/health", lambda r: r["failing"] > 0)
        assert sick["output"] == f"the health check took longer than {limit} ms"
    finally:
        finish(process)


def test_checks_leave_the_processor_to_the_service_where_the_kernel_runs_in_software(
    root: Root, metadata: FakeMetadata
) -> None:
    (root.path / "run/systemd/container").unlink()
    root.put("programs/systemd-detect-virt", "#!/bin/sh\necho qemu\n", 0o755)
    times = root.path / "times"
    look = f"date +%s.%N >>{times}; sleep 0.2; date +%s.%N >>{times}"
    _healthcheck(root, f"{look}; test $(grep -c . {times}) -ge 6", start_period=20000)
    process = root.start("stoneware-health", env={"PATH": f"{root.path}/programs:{os.environ['PATH']}"})
    try:
        metadata.wait_report("stoneware/health", lambda r: r["status"] == "healthy")
    finally:
        finish(process)
    at = [float(line) for line in times.read_text().split()][:6]
    pauses = [begins - ended for ended, begins in zip(at[1::2], at[2::2], strict=False)]
    assert min(pauses) > 0.4  # its start interval of 0.05 s counts ten times
    took = [ended - began for began, ended in zip(at[::2], at[1::2], strict=True)]
    assert pauses[0] > min(3 * took[0], 30) - 0.1
    assert pauses[1] > min(4 * took[1], 30) - 0.1


def test_any_bytes_of_a_check_become_a_report(root: Root, metadata: FakeMetadata) -> None:
    # The last 1024 bytes begin within a character.
    _healthcheck(root, 'printf "\\377\\001x"; i=0; while [ $i -lt 700 ]; do printf ż; i=$((i+1)); done; echo')
    process = root.start("stoneware-health")
    try:
        report = metadata.wait_report("stoneware/health", lambda r: r["status"] == "healthy")
        assert set(report["output"]) == {"ż"}
    finally:
        finish(process)


def _override(root: Root, metadata: FakeMetadata, text: str) -> None:
    metadata.set(stoneware_healthcheck=text)
    assert root.run("stoneware-boot").returncode == 0


def test_the_metadata_may_have_another_health_check(root: Root, metadata: FakeMetadata) -> None:
    _healthcheck(root, "echo of the image; exit 1")
    test = ("sh", "-c", 'echo "it\'s $A"\necho two')
    root.configure({"A": "mine"})
    _override(root, metadata, health_override(test, interval=0.1, timeout=5, retries=1))
    process = root.start("stoneware-health")
    try:
        report = metadata.wait_report("stoneware/health", lambda r: r["status"] == "healthy")
        assert report["output"] == "it's mine\ntwo"
    finally:
        finish(process)


def test_an_image_without_a_health_check_may_get_one(root: Root, metadata: FakeMetadata) -> None:
    _override(root, metadata, health_override(("true",)))
    process = root.start("stoneware-health")
    try:
        assert metadata.wait_report("stoneware/health", lambda r: r["status"] == "healthy")["exit"] == 0
    finally:
        finish(process)


def test_other_times_go_with_the_health_check_of_the_image(root: Root, metadata: FakeMetadata) -> None:
    _healthcheck(root, "sleep 100", timeout=90000)
    image = HealthCheck(("unused",), interval=0.1)
    _override(root, metadata, health_override(timeout=0.1, retries=1, image_check=image))
    process = root.start("stoneware-health")
    try:
        sick = metadata.wait_report("stoneware/health", lambda r: r["status"] == "unhealthy")
        assert sick["output"] == "the health check took longer than 100 ms"
    finally:
        finish(process)


def test_a_health_check_can_be_switched_off_and_changed_while_the_machine_runs(
    root: Root, metadata: FakeMetadata
) -> None:
    _override(root, metadata, health_override(disabled=True))
    run = root.path / "run/stoneware"
    assert (run / "no-healthcheck").exists()
    assert not (run / "healthcheck").exists()
    process = root.start("stoneware-watch")
    try:
        metadata.set(stoneware_healthcheck=health_override(("true",), retries=7), stoneware_inspect="1")
        metadata.wait_text("stoneware/inspection", lambda text: text == "1\n")
        metadata.set(stoneware_healthcheck="none", stoneware_inspect="2")
        none = metadata.wait_report("stoneware/health", lambda r: r["status"] == "none")
        assert none["failing"] == 0
        assert (run / "no-healthcheck").exists()
        assert not (run / "healthcheck.argv").exists()
    finally:
        finish(process)


@pytest.mark.parametrize("text", ["interval=1; touch $SW_ROOT/evil\n", "$(touch $SW_ROOT/evil)", "a=`id`\n"])
def test_times_that_are_none_are_not_run(root: Root, metadata: FakeMetadata, text: str) -> None:
    metadata.set(stoneware_healthcheck=text)
    done = root.run("stoneware-boot")
    assert "the health check of the metadata is not one" in done.stderr
    assert not (root.path / "run/stoneware/healthcheck").exists()
    assert not (root.path / "evil").exists()


def test_reports_are_repeated_for_a_metadata_server_that_was_away(root: Root, metadata: FakeMetadata) -> None:
    _running(root, metadata)
    process = root.start("stoneware-watch")
    try:
        with metadata.changed:
            metadata.reports.clear()
            metadata.refuse = 1
        metadata.set(other="x")  # ends the wait that is under way; the next one is refused
        metadata.wait_report("stoneware/status", lambda r: r["phase"] == "running")
        assert metadata.refuse == 0
    finally:
        finish(process)


def _running(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "$A")
    root.configure({"A": "1"})
    assert root.run("stoneware-boot").returncode == 0
    status = root.path / "run/stoneware/status.json"
    status.write_text(status.read_text().replace("configuring", "running"))


def test_a_changed_configuration_is_rendered_and_reloaded(root: Root, metadata: FakeMetadata) -> None:
    _running(root, metadata)
    out = root.path / "reloaded"
    root.put(f"{IMAGE}/reload.argv", f"set -- sh -c 'echo $A >{out}'\n")
    process = root.start("stoneware-watch")
    try:
        root.configure({"A": "it's 2"})
        metadata.wait_report("stoneware/status", lambda r: r["phase"] == "running" and not r["error"])
        assert out.read_text() == "it's 2\n"
        assert (root.path / "x").read_text() == "it's 2"
        metadata.set(stoneware_config="")
        bad = metadata.wait_report("stoneware/status", lambda r: r["error"])
        assert bad["phase"] == "running"
        assert "is not in use" in bad["error"]
        assert (root.path / "x").read_text() == "it's 2"
        root.put(f"{IMAGE}/reload.argv", "set -- sh -c 'echo broken; exit 1'\n")
        root.configure({"A": "3"})
        failed = metadata.wait_report("stoneware/status", lambda r: "reload command failed" in r["error"])
        assert "broken" in failed["error"]
    finally:
        finish(process)


def test_without_a_reload_command_a_restart_is_asked_for(root: Root, metadata: FakeMetadata) -> None:
    _running(root, metadata)
    process = root.start("stoneware-watch")
    try:
        root.configure({"A": "2"})
        status = metadata.wait_report("stoneware/status", lambda r: r.get("restart_needed"))
        assert status["phase"] == "running"
        assert (root.path / "x").read_text() == "1"
        root.configure({"A": "1"})
        metadata.wait_report(
            "stoneware/status", lambda r: r["phase"] == "running" and "restart_needed" not in r
        )
    finally:
        finish(process)


@pytest.mark.parametrize(
    ("user", "identity"),
    [("nobody", "65534 65534 /home/n"), ("1234:staff", "1234 50 /"), ("", "0 0 /root")],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_a_process_of_the_image_has_its_user_directory_and_home(root: Root, user: str, identity: str) -> None:
    # `nobody` because setpriv asks the real user data base for the groups.
    root.put("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/home/n:/bin/sh\n")
    root.put(f"{IMAGE}/process", f"user='{user}' workdir='/work dir'\n")
    root.put(f"{IMAGE}/service.argv", "set -- sh -c 'echo $(id -u) $(id -g) $HOME; pwd'\n")
    done = root.run("service-exec", "service")
    assert done.stdout.splitlines() == [identity, f"{root.path}/work dir"], done.stderr
    assert (root.path / "work dir").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_what_a_service_says_is_passed_on_from_a_pipe_of_its_own(root: Root) -> None:
    root.put("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    root.put(f"{IMAGE}/process", "user=nobody workdir=/\n")
    root.put("etc/systemd/system/stoneware-output.service", "")
    script = "echo 1 >/dev/stdout; echo 2 >/dev/stderr; stat -Lc %F-%U-%a /dev/stdout"
    script += "; sh -c 'echo 4 >/dev/stdout' | cat"
    root.put(f"{IMAGE}/service.argv", f'set -- sh -c "{script}"\n')
    agent = [*root.shell, str(root.path / "usr/lib/stoneware/stoneware-output")]
    passing = subprocess.Popen(agent, env=root.environment(), stdout=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(2):  # a service that is started again has it as well
            assert root.run("service-exec", "service").stdout == ""
        until_gone(root.path / "run/stoneware/output/used")
        passing.terminate()
        said, _ = passing.communicate(timeout=300)
        assert said.decode().split() == ["1", "2", "fifo-nobody-622", "4"] * 2
        assert passing.returncode == 0
    finally:
        finish(passing)


def until_gone(path: Path) -> None:
    deadline = time.monotonic() + 300
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_a_health_check_of_another_user_may_open_its_output_by_name(
    root: Root, metadata: FakeMetadata
) -> None:
    root.put("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    root.put(f"{IMAGE}/process", "user=nobody workdir=/\n")
    _healthcheck(root, "echo said >/dev/stderr")
    process = root.start("stoneware-health")
    try:
        report = metadata.wait_report("stoneware/health", lambda r: r["status"] == "healthy")
        assert report["output"] == "said"
    finally:
        finish(process)


def test_a_command_with_an_equals_sign_is_a_command(root: Root) -> None:
    script = root.put("a=b", "#!/bin/sh\necho ran\n", 0o755)
    assert root.run("service-exec", "command", str(script)).stdout == "ran\n"


@pytest.mark.parametrize("text", ['a"b\\c\td', "line\nline", "\x01\x1b[0m", "żółw", "", "ends\n\n", "tail\\"])
def test_json_reports_survive_any_text(root: Root, text: str) -> None:
    root.put("usr/lib/stoneware/probe", '. "$SW_ROOT/usr/lib/stoneware/lib.sh"\nsw_json_string "$TEXT"\n')
    cleaned = "".join(c if c >= " " or c in "\n\t" else " " for c in text)
    assert json.loads(root.run("probe", env={"TEXT": text}).stdout) == cleaned
