from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path

import pytest

from stoneware.cli.foreground import run_in_foreground
from stoneware.config import decode
from stoneware.machinefile.recipe import ImageConfig
from stoneware.model.limits import Ulimit
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.model.runtime import Process
from tests.cli.conftest import Cli
from tests.cli.fakes import FakePlatform, FakeStore

SPEC = MachineSpec("h1", "image:sha256:1")


def test_detached(cli: Cli, platform: FakePlatform, hello: str, tmp_path: Path) -> None:
    values = tmp_path / "values"
    values.write_text("GREETING=from file\nACCENT=green\n")
    result = cli(
        "run", "-d", "--name", "h1", "-p", "8080:80", "-P", "-e", "GREETING=hi", "--env-file", str(values),
        "-v", "disk:/var/lib/data", "-h", "web", "-m", "64m", "--cpus", "0.5",
        "--pids-limit", "500", "--ulimit", "nofile=1024:4096", "--ulimit", "core=-1",
        "--disk", "1g", "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "--restart", "always", "-l",
        "a=b", "hello",
    )  # fmt: skip
    assert (result.code, result.out, result.err) == (0, "h1\n", "")
    spec = platform.found["h1"].spec
    assert decode(spec.metadata["stoneware-config"]) == {"GREETING": "hi", "ACCENT": "green"}
    assert [(port.host_port, port.machine_port) for port in spec.ports] == [(8080, 80), (0, 53)]
    assert (spec.hostname, spec.memory, spec.cpus, spec.restart) == ("web", 64 << 20, 0.5, "always")
    assert (spec.pids_limit, spec.disk, spec.log_max_size, spec.log_max_file) == (500, 1 << 30, 1 << 20, 2)
    assert spec.ulimits == (Ulimit("core", -1, -1), Ulimit("nofile", 1024, 4096))
    assert (spec.volumes[0].volume, spec.labels, spec.remove_when_stopped) == ("disk", {"a": "b"}, False)


def test_detached_prints_the_machine_as_json(cli: Cli, hello: str) -> None:
    result = cli("run", "-d", "--rm", "--json", "-p", "80", "-e", "GREETING=hi", "--name", "h1", "hello")
    machine = json.loads(result.out)
    assert machine["name"] == "h1"
    assert machine["ports"][0]["host_port"] == 40000


@pytest.mark.parametrize(
    ("words", "tied"),
    [
        (("run", "-d", "--rm"), ""),
        (("run", "--rm"), "remove"),
        (("run",), ""),
        (("run", "--rm", "true"), "remove"),
        (("run", "true"), "stop"),
    ],
)
def test_what_ends_with_its_command(
    cli: Cli, platform: FakePlatform, hello: str, words: tuple[str, ...], tied: str
) -> None:
    specs: list[MachineSpec] = []
    create = platform.create

    def noted(spec: MachineSpec) -> Machine:
        specs.append(spec)
        return create(spec)

    platform.create = noted  # type: ignore[method-assign]
    flags = [word for word in words if word != "true"]
    platform.script = [{"phase": Phase.RUNNING}, {"phase": Phase.STOPPED}]
    cli(*flags, "--name", "h1", "-e", "GREETING=hi", "hello", *(["true"] if "true" in words else []))
    assert [spec.tied for spec in specs] == [tied]


def test_detached_can_wait_for_health(cli: Cli, platform: FakePlatform, hello: str) -> None:
    platform.script = [{"phase": Phase.RUNNING}, {"health": Health.STARTING}, {"health": Health.HEALTHY}]
    result = cli("run", "-d", "--wait", "--json", "-e", "GREETING=hi", "hello")
    assert json.loads(result.out)["health"] == "healthy"


@pytest.mark.parametrize("words", [("--wait",), ("--wait-for", "5")])
def test_a_service_that_ends_at_once_was_not_up(
    cli: Cli, platform: FakePlatform, store: FakeStore, words: tuple[str, ...]
) -> None:
    store.add_image("plain", ImageConfig(cmd=("true",)))
    platform.script = [{"phase": Phase.RUNNING}, {"phase": Phase.STOPPED, "exit_code": 0}]
    result = cli("run", "-d", *words, "--name", "p1", "plain")
    assert result.code == 1
    assert "the machine p1 was up for" in result.err
    assert "p1" in platform.found


def test_the_service_runs_as_it_is_told(cli: Cli, platform: FakePlatform, hello: str) -> None:
    flags = ["-u", "app:staff", "-w", "/srv/app", "--entrypoint", "/bin/other"]
    assert cli("run", "-d", "--name", "h1", *flags, "-e", "GREETING=hi", "hello").code == 0
    assert platform.found["h1"].spec.process == Process(("/bin/other",), "app:staff", "/srv/app")
    done = cli("run", "--name", "h2", *flags, "-e", "GREETING=hi", "hello", "true")
    assert done.code == 0, done.err
    assert platform.found["h2"].spec.process == Process(), "the command has it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-d", "-u", "a b", "hello"), "'a b' is no user"),
        (("-u", "99999999999", "hello", "id"), "has a number above"),
        (("-w", "rel", "hello", "pwd"), "'rel' is not an absolute path"),
        (("-d", "--entrypoint", "", "hello"), "nothing to run but a COMMAND"),
        (("--wait", "hello"), "--wait is of a detached machine"),
        (("--wait-for", "5", "hello", "true"), "--wait-for is of a detached machine"),
        (("--json", "hello"), "--json is of a detached machine"),
        (("-d", "--log-opt", "max-size", "hello"), "invalid size ''"),
        (("-d", "-l", "stoneware.cluster=shop", "hello"), "one of Stoneware's own"),
        (("-d", "-l", "=x", "hello"), "invalid --label"),
        *((("-d", "--cpus", word, "hello"), "is not a number") for word in ("nan", "inf", "\u0665", "1_0")),
        (("-d", "--cpus", "1e400", "hello"), "1e400 is out of range"),
    ],
)
def test_what_is_asked_for_acts_or_is_refused(
    cli: Cli, platform: FakePlatform, hello: str, words: tuple[str, ...], said: str
) -> None:
    refused = cli("run", "-e", "GREETING=hi", *words)
    assert refused.code == 2
    assert said in refused.err
    assert "\n→ " in refused.err
    assert platform.found == {}


def test_a_label_without_a_value_is_an_empty_one(cli: Cli, platform: FakePlatform, hello: str) -> None:
    assert cli("run", "-d", "--name", "h1", "-l", "tier", "-e", "GREETING=hi", "hello").code == 0
    assert platform.found["h1"].spec.labels == {"tier": ""}
    assert "one of Stoneware's own" in cli("volume", "create", "v1", "--label", "stoneware.cluster=x").err


def test_waiting_gives_up(cli: Cli, platform: FakePlatform, hello: str) -> None:
    platform.script = [{"phase": Phase.RUNNING, "health": Health.STARTING}]
    result = cli("run", "-d", "--wait", "--timeout", "0.1", "-e", "GREETING=hi", "--name", "h1", "hello")
    assert result.code == 1
    assert "not healthy within 0.1 seconds" in result.err
    assert "h1" in platform.found  # it is there to be looked at


@pytest.mark.parametrize(
    "words",
    [
        ("-d", "hello", "sh"),
        ("-it", "hello"),
        ("-t", "hello"),
        ("-it", "hello", "sh"),  # the tests' input is no terminal
        ("-d", "-p", "x", "hello"),
        ("-d", "-v", "/home:/x", "hello"),
        ("-d", "--memory", "much", "hello"),
        ("-d", "--restart", "perhaps", "hello"),
        ("-d", "--pids-limit", "3", "hello"),
        ("-d", "--ulimit", "nofile", "hello"),
        ("-d", "--ulimit", "nofile=9:3", "hello"),
        ("-d", "--ulimit", "nofile=-1", "hello"),
        ("-d", "--ulimit", "files=9", "hello"),
        ("-d", "--disk", "1k", "hello"),
        ("-d", "--log-opt", "max-size=0", "hello"),
        ("-d", "--log-opt", "max-file=0", "hello"),
        ("-d", "--log-opt", "max-line=1", "hello"),
        ("-d", "--name", "A_B", "hello"),
        ("-d", "-e", "=x", "hello"),
        ("-d", "--env-file", "missing", "hello"),
        ("-d", "hello"),  # GREETING is not set
        ("-d", "nothing"),
        ("-d",),
        ("--cpus", "none", "hello"),
    ],
)
def test_what_is_refused_leaves_nothing(
    cli: Cli, platform: FakePlatform, hello: str, words: tuple[str, ...]
) -> None:
    result = cli("run", *words)
    assert (result.code, result.out, platform.calls) == (2, "", [])
    assert result.err.startswith("error: ")
    assert "→ " in result.err


def test_a_command_takes_all_words_that_follow(cli: Cli, platform: FakePlatform, hello: str) -> None:
    platform.code = 3
    result = cli("run", "--rm", "--entrypoint", "", "-e", "GREETING=hi", "hello", "ls", "--rm", "-d")
    assert result.code == 3
    assert platform.executions[0].argv == ("ls", "--rm", "-d")
    assert platform.found == {}


def test_in_the_foreground_the_exit_code_is_the_machines(
    cli: Cli, platform: FakePlatform, hello: str
) -> None:
    platform.script = [
        {"output": b"hello\r\n", "phase": Phase.RUNNING},
        {"phase": Phase.STOPPED, "exit_code": 5},
    ]
    result = cli("run", "--rm", "-e", "GREETING=hi", "--name", "h1", "hello")
    assert (result.code, result.out) == (5, "booting\nready\nhello\n")
    assert platform.calls == ["create h1", "destroy h1"]


def test_without_rm_the_machine_stays(cli: Cli, platform: FakePlatform, hello: str) -> None:
    platform.script = [{"phase": Phase.STOPPED, "exit_code": 0}]
    assert cli("run", "-e", "GREETING=hi", "--name", "h1", "hello").code == 0
    assert platform.calls == ["create h1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_machine(platform: FakePlatform, number: signal.Signals) -> None:
    seen: list[str] = []

    def look(name: str) -> None:
        seen.append(name)
        if len(seen) == 2:
            os.kill(os.getpid(), number)

    platform.on_look = look
    before = signal.getsignal(number)
    output = io.BytesIO()
    assert run_in_foreground(platform, SPEC, output, remove=True) == 128 + number
    assert platform.calls == ["create h1", "stop h1 None", "destroy h1"]
    assert output.getvalue() == b"booting\nready\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_while_the_machine_is_created(platform: FakePlatform, when: str, remove: bool) -> None:
    create = platform.create

    def slow_create(spec: MachineSpec) -> Machine:
        if when == "after":
            create(spec)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        raise AssertionError

    platform.create = slow_create  # type: ignore[method-assign]
    assert run_in_foreground(platform, SPEC, io.BytesIO(), remove=remove) == 128 + signal.SIGTERM
    left = ["create h1", "stop h1 None", *(["destroy h1"] if remove else [])]
    assert platform.calls == (left if when == "after" else [])


def test_a_signal_while_the_machine_is_removed(platform: FakePlatform) -> None:
    platform.script = [{"phase": Phase.STOPPED, "exit_code": 0}]

    def interrupted(name: str) -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    platform.destroy = interrupted  # type: ignore[method-assign]
    assert run_in_foreground(platform, SPEC, io.BytesIO(), remove=True) == 128 + signal.SIGHUP


def test_a_second_signal_powers_it_off(platform: FakePlatform) -> None:
    stop = platform.stop

    def slow_stop(name: str, *, timeout: float | None = None, removing: bool = False) -> None:
        if timeout is None:
            platform.calls.append("asked")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        stop(name, timeout=timeout, removing=removing)

    platform.stop = slow_stop  # type: ignore[method-assign]

    def once(name: str) -> None:
        platform.on_look = lambda _: None
        os.kill(os.getpid(), signal.SIGINT)

    platform.on_look = once
    assert run_in_foreground(platform, SPEC, io.BytesIO(), remove=False) == 130
    assert platform.calls == ["create h1", "asked", "stop h1 0"]


def test_a_closed_output_stops_the_machine(platform: FakePlatform) -> None:
    class Closed(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_in_foreground(platform, SPEC, Closed(), remove=True)
    assert platform.calls == ["create h1", "stop h1 None", "destroy h1"]
