"""Clusters of real machines, from the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.model.machine import Phase
from stoneware.terraform.runner import managed_addresses
from tests.cluster.lab import ClusterLab, bake_images, cluster_lab

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def images(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bake_images(machine_home, tmp_path_factory.mktemp("images"))
    return machine_home


@pytest.fixture
def lab(images: Path, tmp_path: Path) -> Iterator[ClusterLab]:
    with cluster_lab(images, tmp_path) as made:
        yield made


def service(replicas: int = 1, image: str = "cl-tiny:1", **more: Any) -> dict[str, Any]:
    return {"image": image, "deploy": {"replicas": replicas}, "stop_grace_period": "2s", **more}


def kill_nspawn(lab: ClusterLab, name: str) -> None:
    """Kill the process that runs a machine, as a fault of the host would."""
    machine = lab.machine(name)
    assert machine.leader is not None
    status = Path(f"/proc/{machine.leader}/stat").read_text()
    os.kill(int(status.rpartition(")")[2].split()[1]), signal.SIGKILL)
    deadline = time.monotonic() + 300
    while lab.machine(name).phase is Phase.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_life_of_a_cluster(lab: ClusterLab) -> None:
    lab.write({"web": service(2)})
    planned = lab.run("plan", "--detailed-exitcode", code=5)
    assert "web-2" in planned.out
    assert lab.machines() == []  # a plan makes nothing
    assert not lab.kept.exists()
    up = lab.run("up")
    assert "2 machines up" in up.err
    assert lab.machines() == ["web-1", "web-2"]

    again = lab.run("up", "--json")
    assert "nothing to do" not in again.out
    assert json.loads(again.out)["status"]["cluster"] == lab.name
    lab.run("plan", "--detailed-exitcode")

    before = lab.machine("web-2")
    lab.sh("web-2", "echo kept > /data/file; sync")
    kill_nspawn(lab, "web-2")
    lab.run("up", "--yes")
    assert lab.sh("web-2", "cat /data/file") == "kept\n"
    assert lab.machine("web-2").ip == before.ip

    lab.run("up", "--scale", "web=3")
    assert lab.machines() == ["web-1", "web-2", "web-3"]
    refused = lab.run("up", "--scale", "web=1", code=2)  # nobody can be asked
    assert "--yes" in refused.err
    lab.run("up", "--yes", "--scale", "web=1")
    assert lab.machines() == ["web-1"]
    assert len(lab.volumes()) == 3

    lab.run("down")
    assert (lab.machines(), lab.networks(), len(lab.volumes())) == ([], [], 3)
    lab.run("up")
    assert lab.sh("web-2", "cat /data/file") == "kept\n"
    assert "--yes" in lab.run("down", "--volumes", code=2).err
    down = lab.run("down", "--volumes", "--yes", "--json")
    assert json.loads(down.out)["machines"] == ["web-1", "web-2"]
    assert (lab.machines(), lab.networks(), lab.volumes()) == ([], [], [])
    assert not lab.kept.exists()
    assert "is not up" in lab.run("down", code=2).err


def test_what_changes_while_machines_run(lab: ClusterLab) -> None:
    def write(image: str, greeting: str) -> None:
        images = {"fix": image, "live": "cl-reload:1"}
        environment = {"GREETING": greeting}
        lab.write({name: service(image=of, environment=environment) for name, of in images.items()})

    write("cl-tiny:1", "one")
    lab.run("up")
    before = {name: lab.machine(name).id for name in lab.machines()}

    write("cl-tiny:1", "two")
    refused = lab.run("up", code=2)
    assert "fix-1" in refused.err
    assert "--recreate" in refused.err
    assert {name: lab.machine(name).id for name in lab.machines()} == before
    lab.run("up", "--recreate", "--yes")
    assert lab.machine("fix-1").id != before["fix-1"]
    for name in ("fix-1", "live-1"):
        assert lab.sh(name, "cat /etc/tiny/config") == f"greeting=two on {lab.full(name)}\n"

    now = {name: lab.machine(name).id for name in lab.machines()}
    lab.write(
        {
            "fix": service(environment={"GREETING": "two"}),
            "live": service(image="cl-reload:1", environment={"GREETING": "three"}),
        }
    )
    assert "update config" in lab.run("plan").out
    lab.run("up")  # in place: nothing is asked
    assert {name: lab.machine(name).id for name in lab.machines()} == now
    assert lab.sh("live-1", "cat /etc/tiny/config") == f"greeting=three on {lab.full('live-1')}\n"

    lab.write(
        {
            "fix": service(image="cl-tiny:2", environment={"GREETING": "two"}),
            "live": service(image="cl-reload:1", environment={"GREETING": "three"}),
        }
    )
    assert "fix-1" in lab.run("up", code=2).err
    lab.run("up", "--recreate", "-y")
    assert lab.machine("fix-1").id != now["fix-1"]
    assert lab.machine("live-1").id == now["live-1"]
    lab.run("up")


def test_one_image_in_several_roles(lab: ClusterLab) -> None:
    def write(words: str, text: str) -> None:
        role = service(
            command=["sh", "-c", f'echo "$$PWD: {words}" >/role; exec sleep 1000'],
            working_dir="/srv/role",
            container_name="the_worker",
            tmpfs="/cache",
            extra_hosts={"outside": "host-gateway"},
            configs=[{"source": "site", "target": "/data/site.conf", "uid": "33"}],
        )
        lab.write({"web": service(), "my_worker": role}, configs={"site": {"content": text}})

    write("works", "first\n")
    lab.run("up")
    assert lab.sh("my-worker-1", "cat /role /data/site.conf; stat -c %u%a /data/site.conf") == (
        "/srv/role: works\nfirst\n33444\n"
    )
    assert lab.sh("web-1", "cat /role || getent hosts my_worker the_worker | wc -l") == "2\n"
    assert "the_worker" in lab.sh("web-1", "getent hosts the_worker")
    assert "outside" in lab.sh("my-worker-1", "getent hosts outside; stat -fc %T /cache | grep -q tmpfs")
    lab.run("plan", "--detailed-exitcode")
    lab.run("drift")
    before = {name: lab.machine(name).id for name in lab.machines()}
    write("rests", "second\n")
    planned = lab.run("plan", "--detailed-exitcode", code=5).out
    assert "service command" in planned
    lab.run("up", "--recreate", "--yes")
    assert lab.sh("my-worker-1", "cat /role /data/site.conf") == "/srv/role: rests\nsecond\n"
    assert lab.machine("web-1").id == before["web-1"]


def test_a_machine_that_never_gets_healthy(lab: ClusterLab) -> None:
    lab.write(
        {
            "good": service(),
            "bad": service(environment={"HEALTH": "never"}, healthcheck={"start_period": "2s"}),
            "last": service(depends_on={"bad": {"condition": "service_healthy"}}),
        }
    )
    failed = lab.run("up", code=1)
    assert "bad-1 (phase running): is unhealthy" in failed.err
    assert "bad-1" in failed.err
    assert "  | " in failed.err  # the end of its console
    assert "last-1" in failed.err
    assert f"stoneware logs {lab.full('bad-1')}" in failed.err
    assert "with exit code 7:\n    > the sensor is sick\n" in failed.err
    assert lab.machines() == ["bad-1", "good-1"]
    assert "  > the sensor is sick\n" in lab.run("status").out


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_what_people_remove_by_hand(lab: ClusterLab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lab.write({"web": service(2), "one": service(ports=[f"127.0.0.1:{port}:80"])})
        refused = lab.run("up", code=2)
        assert "cannot be published; no machine was created or stopped" in refused.err
        assert f"one-1: port {port}/tcp of this computer is in use: " in refused.err
        assert (lab.machines(), lab.networks()) == ([], [])
    lab.run("up")
    old, disk = lab.machine("one-1"), lab.machine("one-1").spec.volumes[0].volume
    lab.sh("one-1", "echo kept > /data/file; sync")
    subprocess.run(["rm", "-rf", lab.home / "data/machines" / lab.full("one-1")], check=True)
    assert Path(f"/proc/{old.leader}").exists()  # it runs on, with its disk and its port
    made = lab.run("up")
    assert f"ended the machine {lab.full('one-1')}, whose directory has been removed" in made.err
    assert old.leader is not None
    assert _is_dead(old.leader)
    assert lab.machine("one-1").ports == old.ports
    assert lab.sh("one-1", "cat /data/file") == "kept\n"

    # A machine and its disk, while the file has another change: no command sends to one that sends back.
    lab.run("rm", "-f", lab.full("one-1"))
    lab.run("volume", "rm", disk)
    lab.write({"web": service(2, "cl-tiny:2"), "one": service()})
    assert "stoneware up --restore    # one-1: back as before" in lab.run("up", code=2).err
    assert "one-1 has lost its disk" in lab.run("rollout", "--plan", code=2).out
    lab.run("up", "--restore")
    assert lab.machine("one-1").ports == old.ports  # as it was applied last
    in_use = lab.run("volume", "rm", disk, code=2).err
    assert "rm -f" not in in_use
    assert f"stoneware down -p {lab.name}" in in_use
    assert lab.run("stop", "web").out.split() == [lab.full("web-1"), lab.full("web-2")]
    shutil.rmtree(lab.home / "data/volumes" / lab.machine("web-1").spec.volumes[0].volume)
    gone = lab.run("start", "-p", lab.name, "web", code=1).err
    assert f"stoneware up -p {lab.name} --restore" in gone
    lab.run("up", "--restore", "web")
    assert {lab.machine(name).phase for name in lab.machines()} == {Phase.RUNNING}
    assert lab.machine("web-1").image == "cl-tiny:1"


def test_drift(lab: ClusterLab) -> None:
    lab.write({"web": service(2)})
    lab.run("up")
    assert "as declared" in lab.run("drift").out
    lab.sh("web-2", "echo changed >> /etc/tiny/config")
    found = json.loads(lab.run("drift", "--json", code=5).out)
    assert [(item["machine"], item["source"], item["what"]) for item in found["items"]] == [
        ("web-2", "file", "/etc/tiny/config")
    ]
    kill_nspawn(lab, "web-1")
    found = json.loads(lab.run("drift", "--json", code=5).out)
    assert {item["machine"] for item in found["items"]} == {"web-1", "web-2"}
    # By name alone, from a directory without a file, it is the same.
    (lab.directory / "machines.yaml").unlink()
    assert json.loads(lab.run("drift", "-p", lab.name, "--json", code=5).out)["items"] == found["items"]
    assert "web-1" in lab.run("status", "-p", lab.name).out


def test_secrets_are_seen_by_the_machine_alone(lab: ClusterLab) -> None:
    value = "correct-horse-battery-staple"
    (lab.directory / "token.txt").write_text(value)
    lab.write(
        {"web": service(secrets=[{"source": "token", "target": "TOKEN"}])},
        secrets={"token": {"file": "./token.txt"}},
    )
    process = lab.start("up", "-v", "--progress", "json", "--json")
    seen = b""
    while process.poll() is None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen += entry.read_bytes() if value.encode() in entry.read_bytes() else b""
            except OSError:
                continue
        time.sleep(0.05)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert seen == b""
    texts = [out, err]
    for words in (
        ["inspect", "web-1"],
        ["logs"],
        ["plan", "-v"],
        ["status", "--json"],
        ["drift", "--json"],
        ["config"],
    ):
        done = lab.run(*words, code=None)
        texts += [done.out, done.err]
    assert all(value not in text for text in texts)
    for path in lab.kept.rglob("*"):
        assert not path.is_file() or value.encode() not in path.read_bytes(), path
    assert (
        lab.sh("web-1", "cat /run/secrets/TOKEN; stat -c ' %a %U' /run/secrets/TOKEN")
        == f"{value} 400 root\n"
    )
    assert lab.sh("web-1", "cat /etc/tiny/token") == f"token={value}\n"

    (lab.directory / "token.txt").write_text("another value")
    assert "web-1" in lab.run("up", code=2).err
    lab.run("up", "--recreate", "--yes")
    assert lab.sh("web-1", "cat /run/secrets/TOKEN") == "another value"
    (lab.directory / "token.txt").unlink()
    missing = lab.run("up", code=2)
    assert "token" in missing.err


def test_two_at_once(lab: ClusterLab) -> None:
    lab.write({"web": service(2)})
    with lab.start("up") as first:
        deadline = time.monotonic() + 300
        while not (lab.kept / "lock").exists() or not (lab.kept / "lock").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)  # else it may have ended by then
        second = lab.run("up", code=1)
        first.send_signal(signal.SIGCONT)
        assert f"process {first.pid} of" in second.err
        waited = lab.run("up", "--lock-timeout", "120")
        assert "nothing to do" in waited.err
        _, err = first.communicate()
    assert first.returncode == 0, err
    assert lab.machines() == ["web-1", "web-2"]


def test_ctrl_c(lab: ClusterLab) -> None:
    lab.write({"web": service(2, environment={"HEALTH": "never"})})
    process = lab.start("up", "--wait-timeout", "100")
    deadline = time.monotonic() + 300
    while len(lab.machines()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    lab.write({"web": service(2)})
    lab.run("up", "--recreate", "--yes")
    assert lab.machines() == ["web-1", "web-2"]
    assert len([where for where in managed_addresses(lab.kept) if "machine" in where]) == 2


@pytest.mark.parametrize("round_", range(3))
def test_a_kill_at_any_time_is_made_good(lab: ClusterLab, round_: int) -> None:
    chance = random.Random(round_)  # noqa: S311  # the moments of the kills
    lab.write({"web": service(2), "late": service(depends_on=["web"])})
    for words in (["up"], ["up"], ["down"]):
        process = lab.start(*words)
        time.sleep(chance.uniform(0.3, 4))  # the moment of the kill, nothing is waited for
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        disks = set(lab.volumes())
    lab.run("up", "--yes", "--lock-timeout", "60")
    assert lab.machines() == ["late-1", "web-1", "web-2"]
    assert disks <= set(lab.volumes())
    lab.sh("web-1", "echo kept > /data/file; sync")
    lab.run("plan", "--detailed-exitcode")
    process = lab.start("down", "--volumes", "--yes") if round_ == 2 else lab.start("down")
    time.sleep(chance.uniform(0.2, 3))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if round_ != 2:
        lab.run("up", "--yes", "--lock-timeout", "60")
        assert lab.sh("web-1", "cat /data/file") == "kept\n"
        assert "as declared" in lab.run("drift").out
    lab.run("down", "--volumes", "--yes", "--lock-timeout", "60", code=None)
    assert (lab.machines(), lab.networks(), lab.volumes()) == ([], [], [])
    assert not lab.kept.exists()


def test_names_and_the_other_cluster(lab: ClusterLab, images: Path, tmp_path: Path) -> None:
    other_directory = tmp_path / "other"
    other_directory.mkdir()
    lab.write({"web": service(2), "db": service()})
    lab.run("up")
    with cluster_lab(images, other_directory) as other:
        other.write({"web": service(), "own": service()})
        other.run("up")
        assert lab.sh("web-1", "hostname").strip().startswith("web-1")
        # Short names mean the cluster of the file that is here.
        assert lab.run("exec", "web-1", "hostname", "-f").out.strip() == f"web-1.{lab.name}.internal"
        assert other.run("exec", "web-1", "hostname", "-f").out.strip() == f"web-1.{other.name}.internal"
        assert lab.run("exec", "db", "true").code == 0  # a service of one machine
        ambiguous = lab.run("exec", "web", "true", code=2)
        assert "web-2" in ambiguous.err
        (lab.directory / "machines.yaml").unlink()
        both = lab.run("exec", "web-1", "true", code=2)
        assert lab.name in both.err
        assert other.name in both.err
        # Names resolve within a cluster only.
        resolve = "getent hosts {}"
        assert lab.machine("web-2").ip in lab.sh("web-1", resolve.format("web-2"))
        assert lab.machine("db-1").ip in lab.sh("web-1", resolve.format(f"db-1.{lab.name}.internal"))
        lab.sh("web-1", resolve.format("own-1"), code=2)
        lab.sh("web-1", resolve.format(f"own-1.{other.name}.internal"), code=2)
        logs = other.run("logs")
        assert any(line.startswith("own-1 | ") for line in logs.out.splitlines())
        assert any(line.startswith("web-1 | ") for line in logs.out.splitlines())
        other.run("down", "--volumes", "--yes")
        assert lab.machines() == ["db-1", "web-1", "web-2"]


def test_a_dead_metadata_server_is_replaced_while_machines_boot(lab: ClusterLab) -> None:
    lab.write({"web": service(2)})
    process = lab.start("up")
    deadline = time.monotonic() + 300
    while not lab.machines():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    words = ["-m", "stoneware.platforms.local.metadata.server", "--home", str(lab.home)]
    killed = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if words == found[-6:-2]:  # the last is --by-port
            os.kill(int(entry.parent.name), signal.SIGKILL)
            killed += 1
    _, err = process.communicate(timeout=300)
    assert killed == 1
    assert process.returncode == 0, err
