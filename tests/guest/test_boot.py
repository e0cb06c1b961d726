"""The boot agent in a directory instead of a machine, against a metadata server in this process."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from stoneware.guest.units import encode
from tests.guest.support import FakeMetadata, Root, etag_of, finish

pytestmark = pytest.mark.tool

HOSTILE = {
    "QUOTES": "it's \"quoted\" '\"'\"' end",
    "DOLLAR": "$HOME ${PATH} $(id) `id`",
    "BACKSLASH": "\\ \\n \\\\ \\r tail\\",
    "LINES": "one\ntwo\r\n\nlast\n",
    "EMPTY": "",
    "UTF8": "żółw 🐢 ]]>",
    "BLANKS": "  a  b\t ",
    "EQUALS": "a=b=c",
    "odd.name": "kept",
}


def test_it_renders_all_templates_and_reports(root: Root, metadata: FakeMetadata) -> None:
    root.template("etc/app/main.conf", "who=$WHO\nip=${STONEWARE_IP}\n", 0o640)
    root.template("etc/plain", "no variables")
    root.put("usr/lib/stoneware/image/commit", "c0ffee\n")
    manifest = root.put("usr/lib/stoneware/image/manifest.json", "{}")
    root.configure({"WHO": "you"})
    done = root.run("stoneware-boot")
    assert (done.returncode, done.stderr) == (0, "")
    rendered = root.path / "etc/app/main.conf"
    assert rendered.read_text() == "who=you\nip=10.0.0.7\n"
    assert stat.S_IMODE(rendered.stat().st_mode) == 0o640
    assert (root.path / "etc/plain").read_text() == "no variables"
    config = hashlib.sha256(b"WHO=you\n").hexdigest()
    image = hashlib.sha256(manifest.read_bytes()).hexdigest()
    (status,) = metadata.reported("stoneware/status")
    assert status["phase"] == "configuring"
    assert status["config"] == f"sha256:{config}"
    assert status["image"] == f"sha256:{image}"
    assert status["commit"] == "c0ffee"
    assert status["error"] == ""
    assert metadata.reported("stoneware/files") == [
        "".join(
            f"{hashlib.sha256((root.path / name).read_bytes()).hexdigest()}  /{name}\n"
            for name in ("etc/app/main.conf", "etc/plain")
        )
    ]
    assert [p.name for p in (root.path / "etc/app").iterdir()] == ["main.conf"]


@pytest.mark.parametrize("ours", [True, False])
def test_it_asks_once_where_the_server_answers_all_at_once(
    root: Root, metadata: FakeMetadata, ours: bool
) -> None:
    metadata.ours = ours
    metadata.values["network-interfaces/0/dns-servers"] = "192.0.2.1\n192.0.2.2\n"
    metadata.values["hostname"] = ""
    root.template("etc/app/main.conf", "$STONEWARE_NAME $STONEWARE_IP $ODD")
    root.configure({**HOSTILE, "ODD": HOSTILE["QUOTES"]})
    done = root.run("stoneware-boot", "--fetch")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(metadata.asked) == (1 if ours else 6)
    root.run("stoneware-boot")
    assert (root.path / "etc/app/main.conf").read_text() == f"m1 10.0.0.7 {HOSTILE['QUOTES']}"
    resolver = (root.path / "etc/resolv.conf").read_text()
    assert resolver == "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"
    etag = (root.path / "run/stoneware/md/etag").read_text().strip()
    attributes = metadata.look("attributes/")
    assert attributes is not None
    assert etag == etag_of(attributes)


def test_values_reach_the_service_byte_for_byte(root: Root, metadata: FakeMetadata) -> None:
    root.configure(HOSTILE)
    assert root.run("stoneware-boot").returncode == 0
    done = root.run("service-exec", "command", "env", "-0")
    seen = dict(item.split("=", 1) for item in done.stdout.split("\0") if item)
    assert {key: seen.get(key) for key in HOSTILE} == HOSTILE
    assert seen["STONEWARE_NAME"] == "m1"
    assert "LC_ALL" not in seen


def test_values_reach_a_template_byte_for_byte(root: Root, metadata: FakeMetadata) -> None:
    names = [name for name in HOSTILE if "." not in name]
    root.template("all", "".join(f"[${{{name}}}]" for name in names))
    root.configure(HOSTILE)
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "all").read_bytes() == "".join(f"[{HOSTILE[name]}]" for name in names).encode()


def test_built_in_values_win_over_configuration_and_that_over_env(root: Root, metadata: FakeMetadata) -> None:
    root.put("usr/lib/stoneware/image/env", encode({"A": "image", "B": "image", "STONEWARE_SLOT": "image"}))
    root.configure({"A": "config", "STONEWARE_SLOT": "config", "STONEWARE_CLUSTER": "config"})
    metadata.set(stoneware_slot="3")
    root.template("x", "$A $B $STONEWARE_SLOT [$STONEWARE_CLUSTER]")
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "x").read_text() == "config image 3 []"


def test_all_faults_of_all_templates_are_reported_and_nothing_is_changed(
    root: Root, metadata: FakeMetadata
) -> None:
    root.template("etc/a.conf", "$ONE\n${TWO:?two is needed}\n")
    root.template("etc/b.conf", "fine\n$THREE\n")
    root.template("etc/c.conf", "fine\n")
    root.put("etc/a.conf", "as it was")
    done = root.run("stoneware-boot")
    assert done.returncode == 1
    (status,) = metadata.reported("stoneware/status")
    assert status["phase"] == "failed"
    for text in ("ONE", "two is needed", "THREE", "/etc/stoneware/templates/etc/b.conf:2"):
        assert text in status["error"]
        assert text in done.stderr
    assert (root.path / "etc/a.conf").read_text() == "as it was"
    assert not (root.path / "etc/c.conf").exists()


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ("NO-EQUALS\n", "not KEY=VALUE"),
        ("=x\n", "not KEY=VALUE"),
        ("PORT=eighty\n", "PORT must be a whole number"),
        ("SHARE=1,5\n", "SHARE must be a number"),
        ("FLAG=yes\n", "FLAG must be true or false"),
        ("LEVEL=loud\n", "LEVEL has a value"),
        ("PORT=1\n", "NEEDED is not set"),
    ],
)
def test_the_contract_is_checked_in_the_machine(
    root: Root, metadata: FakeMetadata, config: str, fault: str
) -> None:
    rows = [
        "NEEDED required",
        "PORT integer",
        "SHARE number",
        "FLAG boolean",
        "LEVEL enum debug",
        "LEVEL enum info",
    ]
    root.put("usr/lib/stoneware/image/contract.tsv", "".join(row.replace(" ", "\t") + "\n" for row in rows))
    metadata.set(stoneware_config=config)
    assert root.run("stoneware-boot").returncode == 1
    assert fault in metadata.reported("stoneware/status")[-1]["error"]


def test_a_good_contract_passes(root: Root, metadata: FakeMetadata) -> None:
    root.put(
        "usr/lib/stoneware/image/contract.tsv", "A\tinteger\nB\tenum\tx\nC\tnumber\nD\tboolean\nA\trequired\n"
    )
    root.configure({"A": "-7", "B": "x", "C": "1.5e3", "D": "true"})
    assert root.run("stoneware-boot").returncode == 0


def test_it_waits_for_a_metadata_server_that_is_not_ready(root: Root, metadata: FakeMetadata) -> None:
    metadata.refuse = 15
    assert root.run("stoneware-boot").returncode == 0
    assert metadata.refuse == 0


def test_no_metadata_server_is_said(root: Root) -> None:
    done = root.run("stoneware-boot", env={"SW_MDS": "http://127.0.0.1:9", "SW_MDS_TIMEOUT": "1"})
    assert done.returncode == 1
    assert "did not answer" in done.stderr
    assert '"phase":"failed"' in (root.path / "run/stoneware/status.json").read_text()


ROUTES = "Iface\tDestination\tGateway\tFlags\n"
COUNTED = '#!/bin/sh\necho "$1" >>"$SLEPT"\nexec /bin/sleep "$1"\n'


def test_no_network_is_waited_for_with_fewer_and_fewer_looks(root: Root, tmp_path: Path) -> None:
    """Each look starts a program: in software that takes the processor from what brings the network up."""
    root.put("proc/net/route", ROUTES)
    root.put("../bin/sleep", COUNTED, 0o755)
    env = {"SW_MDS_TIMEOUT": "1", "SLEPT": str(tmp_path / "slept")}
    done = root.run("stoneware-boot", env=env)
    assert done.returncode == 1
    assert "no network after 1 seconds, still waiting for it" in done.stderr
    assert "this machine has no network" in done.stderr
    assert "did not answer" not in done.stderr
    pauses = [float(line) for line in (tmp_path / "slept").read_text().split()]
    assert len(pauses) < 40
    assert pauses == sorted(pauses)


def test_the_server_gets_its_time_from_when_there_is_a_network(root: Root, metadata: FakeMetadata) -> None:
    root.put("proc/net/route", ROUTES)
    # The network comes after the server's time would be over.
    come = f"{ROUTES}enp0s3\\t00000000\\t0102FEA9\\t0003\\n"
    file = root.path / "proc/net/route"
    script = f'#!/bin/sh\n/bin/sleep "$1"\n[ "$1" != 1 ] || printf "{come}" >{file}\n'
    root.put("../bin/sleep", script, 0o755)
    metadata.refuse = 1
    done = root.run("stoneware-boot", env={"SW_MDS_TIMEOUT": "2"})
    assert done.returncode == 0, done.stderr
    assert "no network after 2 seconds, still waiting for it" in done.stderr


def test_host_name_and_resolver(root: Root, metadata: FakeMetadata) -> None:
    for _ in range(2):  # a second boot replaces its own line
        assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "etc/hostname").read_text() == "m1\n"
    assert (root.path / "etc/hosts").read_text() == (
        "127.0.0.1 localhost\n10.0.0.7 m1.zone.c.project.internal m1 # stoneware\n"
    )
    assert (root.path / "etc/resolv.conf").read_text() == (
        "search zone.c.project.internal\nnameserver 169.254.169.254\n"
    )


HOSTS = "10.0.0.8\tkafka-2.shop.internal kafka-2 kafka\n10.0.0.9\tkafka-3\n"


def test_machines_of_a_cluster_know_each_other(root: Root, metadata: FakeMetadata) -> None:
    bad = "10.0.0.1\tx;reboot\n$(id)\tx\n10.0.0.2 y\n\t\n10.0.0.3\t a\n"
    metadata.set(stoneware_hosts=HOSTS + bad)
    first = "127.0.0.1 localhost\n10.0.0.7 m1.zone.c.project.internal m1 # stoneware\n"
    block = (
        "10.0.0.8 kafka-2.shop.internal kafka-2 kafka # stoneware-hosts\n10.0.0.9 kafka-3 # stoneware-hosts\n"
    )
    for _ in range(2):
        assert root.run("stoneware-boot").returncode == 0
        lines = (root.path / "etc/hosts").read_text()
        assert sorted(lines.splitlines()) == sorted((first + block).splitlines())
    metadata.set(stoneware_hosts=None)
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "etc/hosts").read_text() == first


def test_a_machine_that_runs_learns_of_others(root: Root, metadata: FakeMetadata) -> None:
    assert root.run("stoneware-boot").returncode == 0
    process = root.start("stoneware-watch")
    hosts = root.path / "etc/hosts"
    try:
        for text, there in ((HOSTS, True), (None, False)):
            metadata.set(stoneware_hosts=text)
            deadline = time.monotonic() + 300
            while ("kafka-3" in hosts.read_text()) != there:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        finish(process)


def test_a_builder_is_not_configured_and_gets_its_script(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "$MISSING")
    metadata.set(stoneware_mode="build", startup_script="#!/bin/sh\necho built >$SW_ROOT/out\n")
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "run/stoneware/build").exists()
    assert metadata.reported("stoneware/status") == []
    assert root.run("stoneware-startup").returncode == 0
    assert (root.path / "out").read_text() == "built\n"


def test_a_command_machine_does_not_start_the_service(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "$A")
    root.configure({"A": "1"})
    metadata.set(stoneware_mode="command")
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "run/stoneware/no-service").exists()
    assert (root.path / "x").read_text() == "1"


def test_a_bad_new_configuration_leaves_the_machine_as_it_is(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "$A")
    root.configure({"A": "1"})
    assert root.run("stoneware-boot").returncode == 0
    metadata.set(stoneware_config="B=2\n")
    assert root.run("stoneware-boot", "--again").returncode == 1
    status = metadata.reported("stoneware/status")[-1]
    assert status["phase"] == "running"
    assert status["config"] == f"sha256:{hashlib.sha256(b'A=1' + bytes([10])).hexdigest()}"
    assert "A" in status["error"]
    assert (root.path / "x").read_text() == "1"
    assert root.run("service-exec", "command", "sh", "-c", "echo $A").stdout == "1\n"


def test_a_later_report_takes_the_place_of_the_first_one(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "$A")
    root.configure({"A": "1"})
    boot = root.start("stoneware-boot")
    assert boot.wait(timeout=300) == 0
    assert root.run("stoneware-report").returncode == 0
    finish(boot)
    phases = [status["phase"] for status in metadata.reported("stoneware/status")]
    assert phases in (["running"], ["configuring", "running"])  # the latter where this computer is slow
    assert metadata.reported("stoneware/files") == [f"{hashlib.sha256(b'1').hexdigest()}  /x\n"]


@pytest.mark.parametrize(
    ("running", "failed", "asked"),
    [
        (["a.service", "b.service"], [], ""),
        (["a.service"], [], "--quiet is-failed b.service\n"),
        (["a.service"], ["b.service"], "--quiet is-failed b.service\n"),
        ([], [], "--quiet is-failed a.service b.service\n"),
    ],
)
def test_systemd_is_asked_about_units_without_processes_only(
    root: Root, metadata: FakeMetadata, running: list[str], failed: list[str], asked: str
) -> None:
    root.put("usr/lib/stoneware/image/units", "a.service\nb.service\n")
    for unit in ("a.service", "b.service"):
        processes = "17\n18\n" if unit in running else ""
        root.put(f"sys/fs/cgroup/system.slice/{unit}/cgroup.procs", processes)
    code = 0 if failed else 1
    root.put("bin/systemctl", f'#!/bin/sh\necho "$@" >>{root.path}/asked\nexit {code}\n', 0o755)
    path = f"{root.path / 'bin'}:{os.environ['PATH']}"
    assert root.run("stoneware-report", env={"PATH": path}).returncode == 0
    log = root.path / "asked"
    assert (log.read_text() if log.exists() else "") == asked
    phases = [status["phase"] for status in metadata.reported("stoneware/status")]
    assert phases == ([] if failed else ["running"])


@pytest.mark.parametrize(
    ("there", "state", "asked"),
    [
        (["up/x", "booted.sent"], "running", ["show", "exit"]),
        (["booted.sent"], "running", []),
        ([], "stopping", ["is-system-running"]),
        ([], "starting", ["is-system-running", "show", "exit"]),
    ],
    ids=["by itself", "with the machine", "early, with the machine", "early, by itself"],
)
def test_a_service_that_ends_ends_the_machine_unless_that_goes_down(
    root: Root, metadata: FakeMetadata, there: list[str], state: str, asked: list[str]
) -> None:
    for name in there:
        root.put(f"run/stoneware/{name}", "")
    script = (
        f"echo $1 >>{root.path}/asked\ncase $1 in is-system-running) echo {state} ;; show) echo 0 ;; esac\n"
    )
    root.put("bin/systemctl", f"#!/bin/sh\n[ $1 != --no-block ] || shift\n{script}", 0o755)
    env = {"PATH": f"{root.path / 'bin'}:{os.environ['PATH']}", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}
    assert root.run("stoneware-report", "ended", "web.service", env=env).returncode == 0
    log = root.path / "asked"
    assert (log.read_text().split() if log.exists() else []) == asked
    said = metadata.reported("stoneware/status")[-1]
    assert (said["phase"], said["exit"]) == ("stopped", 0)


def test_what_was_reported_before_is_not_repeated(root: Root, metadata: FakeMetadata) -> None:
    root.template("x", "$A")
    root.configure({"A": "1"})
    assert root.run("stoneware-boot").returncode == 0  # returns after its report
    assert root.run("stoneware-report").returncode == 0
    assert [status["phase"] for status in metadata.reported("stoneware/status")] == [
        "configuring",
        "running",
    ]
    assert len(metadata.reported("stoneware/files")) == 1


def test_a_directory_in_the_way_of_a_template_is_said(root: Root, metadata: FakeMetadata) -> None:
    root.template("etc/thing", "x")
    (root.path / "etc/thing").mkdir()
    assert root.run("stoneware-boot").returncode == 1
    assert "/etc/thing is a directory" in metadata.reported("stoneware/status")[-1]["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_volume_begins_with_what_the_image_has_there_and_keeps_its_data(
    root: Root, metadata: FakeMetadata
) -> None:
    root.put("srv/data/seed", "image", 0o600)
    (root.path / "srv/data").chmod(0o711)
    (root.path / "run/stoneware/volumes/1").mkdir(parents=True)
    metadata.set(stoneware_volumes="/run/stoneware/volumes/1\t/srv/data\trw")
    boot = str(root.path / "usr/lib/stoneware/stoneware-boot")
    script = f"{' '.join(root.shell)} {boot} && cat $SW_ROOT/srv/data/* && echo new >$SW_ROOT/srv/data/new"
    for expected in ("image", "new\nimage"):
        done = root.run_unshared(script)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr
    data = root.path / "run/stoneware/volumes/1/data"
    assert sorted(p.name for p in data.iterdir()) == ["new", "seed"]
    assert stat.S_IMODE(data.stat().st_mode) == 0o711
    assert not (root.path / "srv/data/new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_read_only_volume_cannot_be_written(root: Root, metadata: FakeMetadata) -> None:
    (root.path / "run/stoneware/volumes/1/data").mkdir(parents=True)
    metadata.set(stoneware_volumes="/run/stoneware/volumes/1\t/srv\tro\n")
    boot = str(root.path / "usr/lib/stoneware/stoneware-boot")
    script = f"{' '.join(root.shell)} {boot} && ! touch $SW_ROOT/srv/x"
    done = root.run_unshared(script)
    assert done.returncode == 0
    assert "Read-only" in done.stderr


def test_a_volume_that_is_missing_is_said(root: Root, metadata: FakeMetadata) -> None:
    metadata.set(stoneware_volumes="/run/stoneware/volumes/1\t/srv\trw\n")
    assert root.run("stoneware-boot").returncode == 1
    assert "the volume for /srv is not there" in metadata.reported("stoneware/status")[-1]["error"]
