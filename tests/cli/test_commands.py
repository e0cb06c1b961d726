from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.launch.plan import anonymous_volume
from stoneware.model.machine import Health, Phase
from stoneware.model.resources import VolumeMount
from stoneware.platforms.upkeep import Item, Room, Row, Unused, Usage
from tests.cli.conftest import Cli
from tests.cli.fakes import PORT, FakePlatform, FakeStore, FakeUpkeep


def test_images_as_a_table(cli: Cli, store: FakeStore, hello: str) -> None:
    store.references["hello:1.0"] = hello
    result = cli("images")
    header, *rows = result.out.splitlines()
    assert header.split() == ["NAME", "TAG", "IMAGE", "ID", "COMMIT", "CREATED", "SIZE"]
    assert [row.split()[:4] for row in rows] == [
        ["hello", "1.0", hello[7:19], "ccccccc"],
        ["hello", "latest", hello[7:19], "ccccccc"],
    ]
    assert rows[0].endswith("212MB")
    assert (result.code, result.err) == (0, "")


def test_the_full_commit_is_shown_on_request_only(cli: Cli, store: FakeStore, hello: str) -> None:
    for tag in ("ccccccc", "c" * 40, "c" * 40 + "-dirty"):
        store.references[f"hello:{tag}"] = hello
    assert [row.split()[1] for row in cli("images").out.splitlines()[1:]] == ["ccccccc", "latest"]
    assert len(cli("images", "--no-trunc").out.splitlines()) == 5
    assert len(json.loads(cli("images", "--json").out)[0]["tags"]) == 4


def test_images_as_json(cli: Cli, hello: str) -> None:
    image = json.loads(cli("images", "--json").out)[0]
    assert image["id"] == hello
    assert image["name"] == "hello"
    assert image["tags"] == ["hello:latest"]
    assert image["commit"] == "c" * 40
    assert image["dirty"] is False
    assert image["created"] == "2023-11-14T22:13:20Z"
    assert image["size_bytes"] == 212_000_000


def test_images_by_name_and_quiet(cli: Cli, store: FakeStore, hello: str) -> None:
    other = store.add_image("other", tags=("latest", "v1"))
    assert cli("images", "-q", "hello").out == f"{hello[7:19]}\n"
    assert cli("images", "-q", "--no-trunc", "other:v1").out == f"{other}\n"
    assert cli("images", "nothing", "--json").out == "[]\n"


def test_an_image_without_a_tag_is_listed(cli: Cli, store: FakeStore) -> None:
    store.add_image("old", tags=())
    assert cli("images").out.splitlines()[1].split()[:2] == ["old", "<none>"]


def test_history(cli: Cli, hello: str) -> None:
    rows = [row.split(None, 2) for row in cli("history", "hello").out.splitlines()]
    assert rows == [["LINE", "TOOK", "INSTRUCTION"], ["1", "-", "FROM debian:12"], ["3", "2.5s", "RUN true"]]
    entries = json.loads(cli("history", "--json", "hello").out)
    assert entries[1] == {"line": 3, "instruction": "RUN true", "seconds": 2.5, "key": "k1"}


def test_tag_and_rmi(cli: Cli, store: FakeStore, hello: str) -> None:
    assert cli("tag", "hello", "hello:stable").code == 0
    assert store.tags()["hello:stable"] == hello
    assert cli("rmi", "hello").code == 0
    assert store.tags() == {"hello:stable": hello}
    assert cli("rmi", "hello:stable").code == 0
    assert store.image_ids() == []


def test_rmi_by_id_wants_force_for_several_tags(cli: Cli, store: FakeStore, hello: str) -> None:
    cli("tag", "hello", "hello:stable")
    refused = cli("rmi", hello[7:19])
    assert refused.code == 2
    assert "hello:stable" in refused.err
    assert store.image_ids() == [hello]
    assert cli("rmi", "-f", hello[7:19]).code == 0
    assert (store.tags(), store.image_ids()) == ({}, [])


def test_rmi_keeps_what_a_machine_has(cli: Cli, store: FakeStore, platform: FakePlatform, hello: str) -> None:
    platform.add("h1", image_id=hello)
    refused = cli("rmi", "hello")
    assert refused.code == 2
    assert "→ stoneware rm -f h1" in refused.err
    assert store.tags() == {"hello:latest": hello}


def test_rmi_of_nothing(cli: Cli) -> None:
    assert cli("rmi", "nothing").code == 2
    assert cli("rmi", "-f", "nothing").code == 0


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


def test_render_an_image(cli: Cli, hello: str) -> None:
    result = cli("render", "hello", "-e", "GREETING=hi", "--name", "h1")
    assert result.out == "==> /etc/motd <==\nhi in red on h1\n"
    files = json.loads(cli("render", "hello", "-e", "GREETING=hi", "--name", "h1", "--json").out)
    assert files == [{"path": "/etc/motd", "content": "hi in red on h1\n"}]


def test_render_says_what_is_missing(cli: Cli, hello: str) -> None:
    result = cli("render", "hello")
    assert (result.code, result.out) == (2, "")
    assert "GREETING" in result.err


def test_render_a_file(cli: Cli, tmp_path: Path) -> None:
    template = tmp_path / "motd"
    template.write_text("a ${X} b\n")
    values = tmp_path / "values"
    values.write_text("X=from file\n")
    assert cli("render", "--template", str(template), "--env-file", str(values)).out == "a from file b\n"
    assert cli("render", "--template", str(template), "--env-file", str(values), "-e", "X=1").out == "a 1 b\n"
    result = cli("render", "--template", str(template))
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[0] == f"{template}:1: variable X is not set and has no default"
    assert cli("render", "--template", "-", "-e", "X=2", stdin="${X}").out == "2"


@pytest.mark.parametrize("words", [(), ("hello", "--template", "x"), ("--template", "missing")])
def test_render_wants_one_thing(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("render", *words).code == 2


@pytest.fixture
def waste(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let the engine find something unused; what is really removed comes into the list."""
    removed: list[object] = []
    some = Unused(("h1",), ("sha256:" + "a" * 64,), ("b" * 64,), ())
    monkeypatch.setattr(
        FakeUpkeep,
        "unused",
        lambda _, everything, **__: Unused((), (), (), ()) if removed or everything else some,
    )

    def prune(_: FakeUpkeep, what: object, **__: object) -> int:
        removed.append(what)
        return 5_000_000

    monkeypatch.setattr(FakeUpkeep, "prune", prune)
    return removed


def test_prune_shows_asks_and_removes(cli: Cli, waste: list[object]) -> None:
    plan = cli("prune", "--plan")
    assert [row.split()[:2] for row in plan.out.splitlines()[1:]] == [
        ["machine", "h1"],
        ["image", "a" * 12],
        ["checkpoint", "b" * 12],
    ]
    assert plan.err == ""
    assert cli("prune", stdin="n\n").code == 2
    assert waste == []
    result = cli("prune", stdin="y\n")
    assert "freed 5MB" in result.err
    assert len(waste) == 1
    assert "nothing to remove" in cli("prune").err


def test_prune_as_json(cli: Cli, waste: list[object]) -> None:
    found = json.loads(cli("prune", "--plan", "--json").out)
    assert (found["machines"], found["freed_bytes"]) == (["h1"], None)
    assert json.loads(cli("prune", "-f", "--json").out)["freed_bytes"] == 5_000_000
    assert json.loads(cli("prune", "-a", "--json").out)["machines"] == []


def test_init_writes_what_a_bake_understands(cli: Cli, tmp_path: Path) -> None:
    from stoneware.config import render_template, variables_of

    result = cli("init", str(tmp_path / "My Web"))
    assert result.code == 0
    assert "stoneware bake -t my-web" in result.err
    template = tmp_path / "My Web/templates/etc/nginx/conf.d/site.conf"
    names = {use.name for use in variables_of(template.read_bytes(), "site.conf")}
    assert names == {"PORT", "GREETING", "STONEWARE_NAME"}
    values = dict.fromkeys(names, "7")
    assert b"listen 7;" in render_template(template.read_bytes(), values, filename="x")
    assert "bake -t my-web ." in (tmp_path / "My Web/Machinefile").read_text()


def test_init_overwrites_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Machinefile").write_text("mine")
    result = cli("init", str(tmp_path))
    assert result.code == 2
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == ["Machinefile"]
    assert cli("init", "-f", str(tmp_path)).code == 0
    assert "FROM debian:12" in (tmp_path / "Machinefile").read_text()


def test_an_error_of_a_machine_is_exit_code_1(cli: Cli, platform: FakePlatform) -> None:
    platform.add("h1")

    def fail(name: str) -> None:
        raise MachineError("it will not", details="line 1\nline 2", resolution="kick it")

    platform.start = fail  # type: ignore[assignment, method-assign]
    result = cli("start", "h1")
    assert result.code == 1
    assert result.err == "error: it will not\n  line 1\n  line 2\n→ kick it\n"
