"""Rollouts of real machines, from the command line."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.model.execution import Execution
from stoneware.model.machine import Phase
from stoneware.platforms.local.host.helpers import Helper
from tests.cluster.lab import ClusterLab, bake_images, cluster_lab
from tests.rollout.held import start_held, start_mortal

pytestmark = pytest.mark.machine

_SETTINGS = {"gate_timeout": "60s"}
# The service of the first cannot start; the others have a version and a point of no return.
_MORE = {
    "ro-bad:1": 'FROM cl-tiny:2\nCMD ["false"]\n',
    "ro-final:1": (
        "FROM cl-tiny:1\n"
        "LABEL stoneware.version=1.0 stoneware.rollback-floor=1.0\n"
        'LABEL stoneware.finalize="echo up >> /data/level"\n'
    ),
}


@pytest.fixture(scope="module")
def images(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bake_images(machine_home, tmp_path_factory.mktemp("images"))
    with cluster_lab(machine_home, tmp_path_factory.mktemp("more")) as lab:
        for tag, text in _MORE.items():
            context = lab.directory / tag.partition(":")[0]
            context.mkdir()
            (context / "Machinefile").write_text(text)
            lab.run("bake", "-t", tag, str(context))
    return machine_home


@pytest.fixture
def lab(images: Path, tmp_path: Path) -> Iterator[ClusterLab]:
    with cluster_lab(images, tmp_path) as made:
        yield made


def write(lab: ClusterLab, image: str, replicas: int = 3, *, action: str = "rollback", **more: Any) -> None:
    """Write a file with one service, whose machines are watched for a moment."""
    own = {**_SETTINGS, **more.pop("own", {})}
    config = {"monitor": "500ms", "failure_action": action}
    deploy = {"replicas": replicas, "update_config": config, "rollback_config": {"monitor": "500ms"}}
    service = {"image": image, "deploy": deploy, "stop_grace_period": "2s", "x-stoneware": own, **more}
    lab.write({"web": service})


def journal(lab: ClusterLab) -> list[dict[str, Any]]:
    path = lab.kept / "rollouts.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def images_of(lab: ClusterLab) -> list[str]:
    return [lab.machine(name).image for name in lab.machines()]


def put_files(lab: ClusterLab) -> None:
    for name in lab.machines():
        lab.sh(name, f"echo {name} > /data/file; sync")


def check_files(lab: ClusterLab) -> None:
    for name in lab.machines():
        assert lab.sh(name, "cat /data/file") == f"{name}\n"


def test_commands_in_machines(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", 1)
    lab.run("up")
    platform, name = lab.platform, lab.full("web-1")
    assert platform.run(name, ["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=60) == (3, "out\nerr\n")
    assert platform.run(name, ["printenv", "A"], Execution(env={"A": "b c"}), timeout=60) == (0, "b c\n")
    assert platform.run(name, ["id", "-un"], Execution("nobody"), timeout=60) == (0, "nobody\n")
    assert platform.run(name, ["no-such-command"], timeout=60)[0] == 127
    for seconds in (3, 30):  # as a busy computer needs to begin with it
        code, output = platform.run(name, ["sh", "-c", "echo begun; exec sleep 1000"], timeout=seconds)
        assert code == 124
        if output:
            break
    assert output == "begun\n"
    assert "1000" not in platform.run(name, ["sh", "-c", "cat /proc/[0-9]*/cmdline"], timeout=60)[1]


def test_three_machines_from_image_to_image_and_back(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", own={"gates": [{"exec": ["test", "-e", "/data/file"], "in": "each"}]})
    lab.run("up")
    put_files(lab)
    before = {name: lab.machine(name) for name in lab.machines()}
    assert "nothing to do" in lab.run("rollout").err
    write(lab, "cl-tiny:2", own={"gates": [{"exec": ["test", "-e", "/data/file"], "in": "each"}]})
    planned = lab.run("rollout", "--plan", "--detailed-exitcode", code=5)
    assert "machine, exec" in planned.out
    assert planned.out.count("cl-tiny:2") >= 3
    document = json.loads(lab.run("rollout", "--plan", "--json").out)
    assert [change["machine"] for change in document["changes"]] == ["web-1", "web-2", "web-3"]
    assert images_of(lab) == ["cl-tiny:1"] * 3

    done = lab.run("rollout")
    assert "r1: completed, 3 machines" in done.err
    assert "web-2: replacing" in done.err
    assert images_of(lab) == ["cl-tiny:2"] * 3
    check_files(lab)
    for name, machine in before.items():
        assert lab.machine(name).ip == machine.ip
        assert lab.machine(name).id != machine.id
    stopped = [line["machines"] for line in journal(lab) if line["event"] == "stopping"]
    assert stopped == [["web-1"], ["web-2"], ["web-3"]]
    lab.run("plan", "--detailed-exitcode")
    assert "as declared" in lab.run("drift").out

    assert "cl-tiny:1" in lab.run("rollback", "--plan").out
    assert "r2: completed" in lab.run("rollback").err
    assert images_of(lab) == ["cl-tiny:1"] * 3
    check_files(lab)
    rows = json.loads(lab.run("rollout", "history", "--json").out)["rollouts"]
    assert [(row["kind"], row["outcome"]) for row in rows] == [
        ("rollout", "completed"),
        ("rollback", "completed"),
    ]
    assert rows[0]["machines"][0]["seconds"]["applying"] > 0
    shown = lab.run("rollout", "history").out.splitlines()
    assert shown[1].startswith("r2")
    assert "r2: completed" in lab.run("rollout", "status", "-p", lab.name).out


def test_a_config_is_taken_on_in_place(lab: ClusterLab) -> None:
    write(lab, "cl-reload:1", 2, environment={"GREETING": "one"})
    lab.run("up")
    before = {name: lab.machine(name).id for name in lab.machines()}
    write(lab, "cl-reload:1", 2, environment={"GREETING": "two"})
    assert "reload" in lab.run("rollout", "--plan").out
    lab.run("rollout")
    assert {name: lab.machine(name).id for name in lab.machines()} == before
    assert lab.sh("web-2", "cat /etc/tiny/config") == f"greeting=two on {lab.full('web-2')}\n"


def test_an_image_that_cannot_start_goes_back(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", 2)
    lab.run("up")
    put_files(lab)
    kept = lab.machine("web-2").id
    write(lab, "ro-bad:1", 2)
    failed = lab.run("rollout", code=4)
    assert "FAILED: web-1" in failed.err
    assert "rolled back" in failed.err
    assert images_of(lab) == ["cl-tiny:1"] * 2
    check_files(lab)
    assert lab.machine("web-2").id == kept
    write(lab, "cl-tiny:1", 2)
    lab.run("plan", "--detailed-exitcode")

    write(lab, "ro-bad:1", 2, action="pause")
    paused = lab.run("rollout", code=1)
    assert "rollout resume" in paused.err
    assert lab.machine("web-1").phase is not Phase.RUNNING
    for words in (["up", "--yes"], ["down"], ["rollout"]):
        assert "r2" in lab.run(*words, code=2).err
    assert "r2: paused" in lab.run("rollout", "status").out
    lab.run("rollback")
    assert images_of(lab) == ["cl-tiny:1"] * 2
    check_files(lab)


@pytest.mark.parametrize("round_", range(3))
def test_a_killed_driver(lab: ClusterLab, round_: int) -> None:
    chance = random.Random(round_)  # noqa: S311  # the moments of the kills
    write(lab, "cl-tiny:1", 2)
    lab.run("up")
    put_files(lab)
    write(lab, "cl-tiny:2", 2)
    line = chance.randint(2, 10)
    process = start_mortal(lab, line, chance.uniform(0, 0.4), "rollout")
    said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    told = lab.run("up", "--yes", code=2)
    assert "is gone" in told.err
    assert "rollout resume" in told.err
    assert "is gone" in lab.run("rollout", "status").out
    if round_ == 2:
        lab.run("rollback")
        assert images_of(lab) == ["cl-tiny:1"] * 2
    else:
        lab.run("rollout", "resume")
        assert images_of(lab) == ["cl-tiny:2"] * 2
    check_files(lab)
    disks = [f"{lab.full(name)}" for name in lab.machines()]
    assert len(lab.volumes()) == len(disks)
    write(lab, "cl-tiny:1" if round_ == 2 else "cl-tiny:2", 2)
    lab.run("plan", "--detailed-exitcode")


def test_pause_resume_and_ctrl_c(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", 2)
    lab.run("up")
    write(lab, "cl-tiny:2", 2)
    process, held = start_held(lab, "stopping", "rollout")
    assert "asked process" in lab.run("rollout", "pause").err
    held.unlink()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert "paused: asked for" in err
    assert images_of(lab) == ["cl-tiny:2", "cl-tiny:1"]

    process, held = start_held(lab, "stopping", "rollout", "resume")
    process.send_signal(signal.SIGINT)
    held.unlink()
    _, err = process.communicate(timeout=300)
    # The machine that it was at was the last one: nothing is left to be interrupted, or it is paused then.
    assert process.returncode in (0, 130), err
    assert images_of(lab) == ["cl-tiny:2"] * 2

    lab.run("rollout", "resume", code=0 if process.returncode else 2)
    write(lab, "cl-tiny:1", 2)
    process, _ = start_held(lab, "stopping", "rollout")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # another signal, so that the two are not taken for one
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    lab.run("rollout", "abort")
    assert "aborted" in lab.run("rollout", "status").out
    lab.run("up", "--recreate", "--yes")
    assert images_of(lab) == ["cl-tiny:1"] * 2


def test_variables_edited_by_hand(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", 2)
    lab.run("up")
    path = lab.kept / "machines.auto.tfvars.json"
    document = json.loads(path.read_text())
    document["machines"]["web-2"]["memory"] = 1 << 30
    path.write_text(json.dumps(document))
    write(lab, "cl-tiny:2", 2)
    refused = lab.run("rollout", code=1)
    assert 'stoneware_machine.machine["web-2"]' in refused.err
    assert "edited by hand" in refused.err
    document["machines"]["web-2"]["memory"] = None
    path.write_text(json.dumps(document))
    lab.run("rollout", "resume")
    assert images_of(lab) == ["cl-tiny:2"] * 2


def test_canary_finalize_and_the_floor(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", 2)
    lab.run("up")
    write(lab, "ro-final:1", 2)
    held = lab.run("rollout", "--canary", "web-2", code=1)
    assert "holds after the canary web-2" in held.err
    assert images_of(lab) == ["cl-tiny:1", "ro-final:1"]
    lab.run("rollout", "resume")
    assert images_of(lab) == ["ro-final:1"] * 2
    assert "echo up" in lab.run("rollout", "finalize", "--plan").out
    lab.run("rollout", "finalize", "--yes")
    assert "nothing to finalize" in lab.run("rollout", "finalize").err
    assert lab.sh("web-1", "cat /data/level") == "up\n"
    assert "1.0 is the lowest" in lab.run("rollback", code=2).err
    write(lab, "cl-tiny:1", 2)
    assert "1.0 is the lowest" in lab.run("rollout", "--plan", code=2).err

    disk, told = next(name for name in lab.volumes() if "web-1" in name), "1.0 is the lowest now"
    machines = {name: lab.machine(name).id for name in lab.machines()}
    for words in (["plan"], ["up", "--recreate", "--yes"], ["up", "--recreate", "--yes", "--scale", "web=1"]):
        assert told in lab.run(*words, code=2).err
    assert {name: lab.machine(name).id for name in lab.machines()} == machines
    lab.run("down")
    assert told in lab.run("up", code=2).err
    assert lab.machines() == []
    assert told in lab.run("run", "--rm", "-v", f"{disk}:/data", "cl-tiny:1", "true", code=2).err
    looked = lab.run("run", "--rm", "-v", f"{disk}:/data:ro", "cl-tiny:1", "cat", "/data/level")
    assert "up" in looked.out
    assert json.loads(lab.run("volume", "inspect", disk).out)["rollback_floor"] == "1.0"
    write(lab, "ro-final:1", 2)
    lab.run("up")


def test_images_that_are_needed_stay(lab: ClusterLab) -> None:
    context = lab.directory / "own"
    context.mkdir()
    (context / "Machinefile").write_text(f"FROM cl-tiny:1\nLABEL own={lab.name}\n")
    lab.run("bake", "-t", f"{lab.name}:1", str(context))
    write(lab, f"{lab.name}:1", 1)
    lab.run("up")
    image = lab.machine("web-1").image_id
    write(lab, "cl-tiny:2", 1)
    lab.run("rollout")
    refused = lab.run("rmi", "-f", image, code=2)
    assert "rollback would return to it" in refused.err
    assert image not in json.loads(lab.run("prune", "--all", "--plan", "--json").out)["images"]
    lab.run("rollback")
    assert images_of(lab) == [f"{lab.name}:1"]
    lab.run("down", "--volumes", "--yes")
    lab.run("rmi", "-f", image)


def test_a_machine_that_somebody_kills_goes_first(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1", 2)
    lab.run("up")
    put_files(lab)
    lab.run("stop", lab.full("web-2"))
    write(lab, "cl-tiny:2", 2)
    lab.run("rollout")
    assert next(line["machines"] for line in journal(lab) if line["event"] == "stopping") == ["web-2"]
    assert images_of(lab) == ["cl-tiny:2"] * 2
    check_files(lab)
    lab.run("stop", lab.full("web-1"))
    assert "already has the new release" in lab.run("rollout", "--plan").out
    lab.run("rollout")
    assert lab.machine("web-1").phase is Phase.RUNNING
    check_files(lab)


def test_servers_and_machines_that_die_in_the_middle(lab: ClusterLab) -> None:
    write(lab, "cl-tiny:1")
    lab.run("up")
    put_files(lab)
    write(lab, "cl-tiny:2")
    process, held = start_held(lab, "applying", "rollout")
    server = Helper(lab.home / "run", "metadata").process()
    leader = lab.machine("web-3").leader
    assert server is not None
    assert leader is not None
    os.kill(server.pid, signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)
    held.unlink()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert images_of(lab) == ["cl-tiny:2"] * 3
    done = [line["machines"] for line in journal(lab) if line["event"] == "done"]
    assert done == [["web-1"], ["web-3"], ["web-2"]], "what is down already comes first"
    again = Helper(lab.home / "run", "metadata").process()
    assert again is not None
    assert again.pid != server.pid
    check_files(lab)
