"""Commands about machines, and what all commands do alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.launch.plan import anonymous_volume
from stoneware.model.machine import Health, Phase
from stoneware.model.resources import VolumeMount
from stoneware.platforms.upkeep import Item, Room, Row, Usage
from tests.cli.conftest import Cli
from tests.cli.fakes import PORT, FakePlatform, FakeUpkeep


def test_ps_shows_running_machines(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", ports=(PORT,))
    platform.add("h2", phase=Phase.STOPPED, exit_code=3)
    platform.add("b1", kind="builder")
    header, row = cli("ps").out.splitlines()
    assert header.split() == ["NAME", "IMAGE", "PHASE", "HEALTH", "IP", "PORTS", "AGE"]
    assert row.split()[:6] == ["h1", "hello", "running", "healthy", "10.1.0.1", "0.0.0.0:8080->80/tcp"]
    assert cli("ps", "-q").out == "h1\n"
    assert cli("ps", "-aq").out == "b1\nh1\nh2\n"
    assert "stopped (3)" in cli("ps", "-a").out


def test_ps_shows_why_a_machine_failed(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.FAILED, error="GREETING is not set\n(templates)")
    header, row = cli("ps").out.splitlines()
    assert header.endswith("ERROR")
    assert row.endswith("GREETING is not set; (templates)")


def test_ps_as_json(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", ports=(PORT,), health=Health.STARTING)
    machine = json.loads(cli("ps", "--json").out)[0]
    wanted = {"name", "id", "image_id", "image", "phase", "health", "ip", "ports", "config_digest", "error"}
    assert wanted <= set(machine)
    assert (machine["phase"], machine["health"]) == ("running", "starting")
    port = {"host_ip": "0.0.0.0", "host_port": 8080, "machine_port": 80, "protocol": "tcp"}
    assert machine["ports"] == [port]


def test_stop_start_restart(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")
    platform.add("h2")
    assert cli("stop", "-t", "3", "h1", "h2").out == "h1\nh2\n"
    assert cli("start", "h1").code == 0
    assert cli("restart", "h2").code == 0
    assert platform.calls == ["stop h1 3.0", "stop h2 3.0", "start h1", "stop h2 None", "start h2"]


def test_nothing_is_done_when_one_name_is_wrong(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")
    for command in ("stop", "start", "restart"):
        assert cli(command, "h1", "typo").code == 2
    assert platform.calls == []


def test_start_can_wait(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.STOPPED, health=Health.UNHEALTHY)
    result = cli("start", "--wait", "h1")
    assert result.code == 1
    assert "unhealthy" in result.err


def test_wait_prints_exit_codes(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.STOPPED, exit_code=3)
    assert cli("wait", "h1").out == "3\n"
    platform.add("h2")
    assert cli("wait", "--healthy", "h2").code == 0


def test_rm(cli: Cli, platform: FakePlatform) -> None:
    volume = anonymous_volume("h1", "/data")
    for name in (volume, "h1-mine"):
        platform.create_volume(name, {})
    machine = platform.add("h1")
    mounts = (VolumeMount(volume, "/data"), VolumeMount("h1-mine", "/srv"))
    platform.found["h1"] = replace(machine, spec=replace(machine.spec, volumes=mounts))
    refused = cli("rm", "h1")
    assert refused.code == 2
    assert "stoneware rm -f h1" in refused.err
    assert cli("rm", "-f", "-v", "h1", "gone").out == "h1\n"
    assert [volume.name for volume in platform.volumes()] == ["h1-mine"]
    assert cli("rm", "gone").code == 2


def test_a_stopped_machine_is_removed_without_force(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.STOPPED)
    assert cli("rm", "h1").code == 0
    assert platform.found == {}


def test_logs(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")
    assert cli("logs", "h1").out == "booting\nready\n"
    assert cli("logs", "--tail", "1", "h1").out == "ready\n"
    assert cli("logs", "--tail", "0", "h1").out == ""
    assert cli("logs", "--tail", "x", "h1").code == 2


def test_logs_of_a_time(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")
    platform.timed = [(100.0, b"boot"), (101.5, b"ing\r\n"), (200.0, b"ready\r\n")]
    assert cli("logs", "--since", "150", "h1").out == "ready\n"
    assert cli("logs", "--until", "150", "h1").out == "booting\n"
    assert cli("logs", "-f", "--until", "1970-01-01T00:02:00Z", "h1").out == "booting\n"
    assert cli("logs", "--since", "1m", "h1").out == ""
    assert cli("logs", "-n", "1", "--since", "1", "-t", "h1").out == "1970-01-01T00:03:20.000000000Z ready\n"
    assert cli("logs", "-t", "h1").out.splitlines()[0] == "1970-01-01T00:01:40.000000000Z booting"
    assert cli("logs", "--since", "yesterday", "h1").code == 2


def test_logs_follow_until_the_machine_stops(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")
    platform.scripts["h1"] = iter([{}, {"output": b"more\n"}, {"phase": Phase.STOPPED}])
    assert cli("logs", "-f", "-n", "1", "h1").out == "ready\nmore\n"


def test_exec_passes_everything_on(cli: Cli, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    platform.add("h1")
    platform.code = 42
    result = cli(
        "exec", "-i", "-e", "A=b", "-e", "OURS", "-u", "web:www", "-w", "/srv", "h1", "ls", "-l", "--", "x"
    )
    assert result.code == 42
    done = platform.executions[0]
    assert done.argv == ("ls", "-l", "--", "x")
    assert done.options == {
        "tty": False,
        "interactive": True,
        "env": {"A": "b", "OURS": "1"},
        "user": "web:www",
        "workdir": "/srv",
    }


def test_exec_has_the_environment_of_the_service(cli: Cli, platform: FakePlatform, hello: str) -> None:
    platform.add("h1", image_id=hello, spec={"metadata": {"stoneware-config": "ACCENT=a\\nb\nGREETING=hi\n"}})
    cli("exec", "-e", "GREETING=ho", "h1", "env")
    env = platform.executions[0].options["env"]
    assert (env["ACCENT"], env["GREETING"], env["STONEWARE_NAME"]) == ("a\nb", "ho", "h1")


def test_exec_needs_a_terminal_for_one_and_a_running_machine(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.STOPPED)
    assert "not a terminal" in cli("exec", "-it", "h1", "sh").err
    result = cli("exec", "h1", "sh")
    assert (result.code, platform.executions) == (1, [])
    assert "→ stoneware start h1" in result.err


def test_cp(cli: Cli, platform: FakePlatform, tmp_path: Path) -> None:
    platform.add("h1")
    (tmp_path / "tree").mkdir()
    result = cli("cp", "h1:/etc/hostname", str(tmp_path))
    assert (result.code, "left out dev/sda" in result.err) == (0, True)
    assert cli("cp", str(tmp_path / "tree"), "h1:/tmp/").code == 0
    assert cli("cp", f"{tmp_path}/tree/.", "h1:/tmp").code == 0
    assert cli("cp", "h1:/etc", "-").code == 0
    assert platform.calls == [
        f"copy_out h1 /etc/hostname {tmp_path}",
        f"copy_in {tmp_path}/tree h1 /tmp/ in {Path.cwd().name}",
        "copy_in . h1 /tmp in tree",
    ]
    assert platform.executions[0].argv == ("tar", "-C", "/", "-cf", "-", "--", "etc")


@pytest.mark.parametrize("words", [("a", "b"), ("h1:/a", "h1:/b"), ("h1:/a", "missing/"), ("h9:/a", ".")])
def test_cp_refuses(cli: Cli, platform: FakePlatform, words: tuple[str, str]) -> None:
    platform.add("h1")
    assert cli("cp", *words).code == 2
    assert platform.calls == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("exec", "h1", "true"), ""),
        (("cp", "h1:/etc/hostname", "."), ""),
        (("run", "hello", "-e", "GREETING=hi", "true"), "COMMAND"),
        (("run", "-d", "-p", "80:80", "-e", "GREETING=hi", "hello"), "--publish"),
    ],
)
def test_what_the_platform_cannot_do_is_refused_before_anything(
    cli: Cli, platform: FakePlatform, hello: str, words: tuple[str, ...], place: str
) -> None:
    platform.add("h1")
    platform.capabilities = frozenset()
    result = cli(*words)
    assert (result.code, platform.calls, platform.executions) == (2, [], [])
    assert "cannot do this" in result.err
    assert place in result.err


def test_inspect(cli: Cli, platform: FakePlatform, hello: str) -> None:
    platform.add("hello")
    assert json.loads(cli("inspect", "hello").out)["phase"] == "running"
    assert json.loads(cli("inspect", "--type", "image", "hello").out)["id"] == hello
    assert [entry.get("phase") for entry in json.loads(cli("inspect", "hello", hello[7:15]).out)] == [
        "running",
        None,
    ]
    result = cli("inspect", "nothing")
    assert (result.code, result.out) == (2, "")
    assert "no machine and no image 'nothing'" in result.err


def test_volumes(cli: Cli, platform: FakePlatform) -> None:
    assert cli("volume", "create", "disk", "--label", "a=b").out == "disk\n"
    platform.create_volume("used", {})
    platform.add("db", spec={"volumes": (VolumeMount("used", "/x"),)})
    assert cli("volume", "ls", "-q").out == "disk\nused\n"
    assert cli("volume", "ls").out.splitlines()[2].split()[:3] == ["used", "directory", "db"]
    assert json.loads(cli("volume", "ls", "--json").out)[0]["labels"] == {"a": "b"}
    assert json.loads(cli("volume", "inspect", "used").out)["machines"] == ["db"]
    refused = cli("volume", "rm", "used")
    assert refused.code == 2
    assert "stoneware rm -f db" in refused.err
    assert cli("volume", "rm", "missing").code == 2
    assert cli("volume", "rm", "-f", "missing").code == 0
    assert cli("volume", "prune", "-f").out == "disk\n"
    assert [volume.name for volume in platform.volumes()] == ["used"]


def test_what_uses_the_space(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    mib = 1 << 20
    room = Room(100 * mib, 60 * mib, 40 * mib, 8 * mib, 30 * mib, 500 * mib)
    rows = (Row("images and checkpoints", 5, 2, 30 * mib, None), Row("volumes", 2, 1, 20 * mib, 5 * mib))
    items = {
        "volumes": (Item("db\x1b[2J", True, 15 * mib, 64 * mib), Item("old", False, 5 * mib)),
        "caches": (),
    }
    usages = [Usage(rows, items, room), Usage(rows, items, replace(room, reserve=None, left=None))]
    monkeypatch.setattr(FakeUpkeep, "usage", lambda *_: usages[0], raising=False)
    shown = cli("system", "df")
    assert (shown.code, shown.err) == (0, "")
    header, images, volumes, *rest = shown.out.splitlines()
    assert header.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert images.split() == ["Images", "and", "checkpoints", "5", "2", "31.5MB", "-"]
    assert volumes.split() == ["Volumes", "2", "1", "21MB", "5.24MB"]
    assert rest[1:] == [
        "store: 105MB, 62.9MB used, 41.9MB free",
        "of that machines, volumes and caches may take 31.5MB; 8.39MB are kept for the store's own records",
        "the disk that it is on: 524MB free",
    ]
    verbose = cli("system", "df", "-v").out.splitlines()
    assert [line.split() for line in verbose[-3:]] == [
        ["VOLUMES", "ACTIVE", "SIZE", "LIMIT"],
        ["db\\x1b[2J", "yes", "15.7MB", "67.1MB"],
        ["old", "no", "5.24MB", "-"],
    ]
    document = json.loads(cli("system", "df", "--json").out)
    assert document["room"]["left"] == 30 * mib
    assert [row["kind"] for row in document["kinds"]] == ["images and checkpoints", "volumes"]
    assert "items" not in document
    assert json.loads(cli("system", "df", "--json", "-v").out)["items"]["volumes"][1]["name"] == "old"
    usages.reverse()
    assert "nothing is kept back" in cli("system", "df").out


def test_volume_prune_asks(cli: Cli, platform: FakePlatform) -> None:
    platform.create_volume("disk", {})
    refused = cli("volume", "prune", stdin="n\n")
    assert refused.code == 2
    assert refused.err.endswith("cancelled, nothing was done\n")
    assert [volume.name for volume in platform.volumes()] == ["disk"]
    assert cli("volume", "prune", stdin="y\n").code == 0
    assert platform.volumes() == []


def test_an_error_of_a_machine_is_exit_code_1(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")

    def fail(name: str) -> None:
        raise MachineError("it will not", details="line 1\nline 2", resolution="kick it")

    platform.start = fail  # type: ignore[assignment, method-assign]
    result = cli("start", "h1")
    assert result.code == 1
    assert result.err == "error: it will not\n  line 1\n  line 2\n→ kick it\n"
