"""The commands for clusters, over machines in memory and the real Terraform."""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stoneware.cli import clusters, complete, context, program
from stoneware.errors import InputError
from stoneware.launch.machine_search import find_machine
from stoneware.machinefile.recipe import ImageConfig
from stoneware.model.machine import Health, Phase
from tests.cli.conftest import Result
from tests.cli.fakes import FakePlatform, FakeStore
from tests.cluster.engine import ClusterPlatform

COMMANDS = ["cluster_plan", "cluster_up", "cluster_down", "cluster_status", "logs", "machines"]
FILE = """\
name: shop
services:
  db:
    image: hello
  web:
    image: hello
    depends_on: [db]
    environment:
      GREETING: ${HI:-hi}
    deploy:
      replicas: 2
"""


class Clusters:
    """A directory with a machines.yaml, and what is typed there."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = ClusterPlatform()
        self.store = FakeStore(root / "store")
        self.store.home = root / "home"
        self.store.add_image("hello", ImageConfig(), {"/etc/motd": b"${GREETING:-hello}\n"})
        self.directory = root / "work"
        self.directory.mkdir()
        self.write(FILE)
        self.monkeypatch = monkeypatch
        for name in COMMANDS:
            module = importlib.import_module(f"stoneware.cli.commands.{name}")
            monkeypatch.setattr(module, "open_store", lambda: self.store, raising=False)
            monkeypatch.setattr(module, "open_platform", lambda _=None, **__: self.platform, raising=False)
        monkeypatch.setattr(context, "open_platform", lambda _=None, **__: self.platform)
        monkeypatch.setattr(context, "open_store", lambda **_: self.store)
        monkeypatch.chdir(self.directory)

    def write(self, text: str) -> None:
        (self.directory / "machines.yaml").write_text(text)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        """Run a command; with `stdin` its input is a terminal."""
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        given = io.TextIOWrapper(io.BytesIO((stdin or "").encode()))
        if stdin is not None:
            given.isatty = lambda: True  # type: ignore[method-assign]
        with self.monkeypatch.context() as streams:
            streams.setattr(sys, "stdout", out)
            streams.setattr(sys, "stderr", err)
            streams.setattr(sys, "stdin", given)
            code = program.run(words)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return Result(code, *texts)

    def machines(self) -> list[str]:
        return [machine.name for machine in self.platform.machines()]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    for name in ("COMPOSE_PROJECT_NAME", "STONEWARE_PROJECT_NAME", "COMPOSE_PROFILES", "HI"):
        monkeypatch.delenv(name, raising=False)
    return Clusters(tmp_path, monkeypatch)


# -- without Terraform -------------------------------------------------------------------------------


def test_config_prints_what_is_understood(shop: Clusters) -> None:
    result = shop.run("config")
    assert result.code == 0
    assert "GREETING: hi" in result.out
    assert json.loads(shop.run("config", "--json").out)["name"] == "shop"
    assert shop.run("config", "--services").out == "db\nweb\n"
    assert shop.run("config", "--images").out == "hello\n"
    assert shop.run("config", "-q").out == ""
    assert "name: other" in shop.run("config", "-p", "other").out


def test_services_of_profiles_are_there_when_they_are_asked_for(
    shop: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write("services: {web: {image: hello}, sh: {image: hello, profiles: [tools]}}\n")
    assert shop.run("config", "--services").out == "web\n"
    assert shop.run("config", "--services", "--profile", "tools").out == "web\nsh\n"
    assert shop.run("config", "--services", "--profile", "*").out == "web\nsh\n"
    monkeypatch.setenv("COMPOSE_PROFILES", "tools")
    assert shop.run("config", "--services").out == "web\nsh\n"
    assert shop.run("config", "--services", "--profile", "other").out == "web\n"


def test_what_is_ours_in_a_file_is_checked_by_every_command(shop: Clusters) -> None:
    shop.write("services:\n  web:\n    image: hello\n    x-stoneware: {gates: [kafk]}\n")
    for words in (["config"], ["plan"], ["up"], ["status"], ["drift"], ["rollout", "--plan"]):
        result = shop.run(*words)
        assert result.code == 2
        assert "machines.yaml:4:27" in result.err
        assert "there is no gate 'kafk'" in result.err
        assert "kafka" in result.err


def test_a_bad_file_is_refused_with_its_place(shop: Clusters) -> None:
    shop.write("services:\n  web:\n    image: hello\n    privileged: true\n")
    for words in (["config"], ["plan"], ["up"], ["status"], ["drift"]):
        result = shop.run(*words)
        assert result.code == 2
        assert "machines.yaml:4:5" in result.err
    assert shop.machines() == []


def test_without_a_file(shop: Clusters) -> None:
    (shop.directory / "machines.yaml").unlink()
    assert "machines.yaml" in shop.run("up").err
    assert shop.run("up").code == 2
    result = shop.run("status", "-p", "nothing")
    assert (result.code, "there is no cluster 'nothing'" in result.err) == (2, True)
    assert "is not up" in shop.run("down", "-p", "nothing").err
    assert shop.run("logs").code == 2


def test_plan_touches_nothing(shop: Clusters) -> None:
    result = shop.run("plan")
    assert result.code == 0
    assert [line.split()[:3] for line in result.out.splitlines()] == [
        ["ACTION", "KIND", "NAME"],
        ["create", "network", "shop-default"],
        ["create", "machine", "db-1"],
        ["create", "machine", "web-1"],
        ["create", "machine", "web-2"],
    ]
    assert "3 machines to create, 1 network to create" in result.err
    assert shop.run("plan", "--detailed-exitcode").code == 5
    document = json.loads(shop.run("plan", "--json", "--scale", "web=1").out)
    assert [step["name"] for step in document["steps"] if step["kind"] == "machine"] == ["db-1", "web-1"]
    assert document["images"] == []
    assert not (shop.store.home / "clusters").exists()


@pytest.mark.parametrize("text", ["web", "web=", "web=many", "=3", "web=" + "9" * 5000, "web=٣"])
def test_bad_scales(text: str) -> None:
    with pytest.raises(InputError, match="invalid --scale"):
        clusters.parse_scale([text])


def test_all_unknown_images_are_told(shop: Clusters) -> None:
    shop.write(FILE.replace("image: hello", "image: helo", 1))
    result = shop.run("up")
    assert result.code == 2
    assert "helo" in result.err
    assert shop.machines() == []


# -- with Terraform ----------------------------------------------------------------------------------


@pytest.mark.tool
def test_up_status_and_down(shop: Clusters) -> None:
    result = shop.run("up")
    assert result.code == 0, result.err
    assert result.out == ""
    assert "shop: 3 machines up" in result.err
    status = json.loads(shop.run("status", "--json").out)
    assert [machine["name"] for machine in status["machines"]] == ["db-1", "web-1", "web-2"]
    assert "web-2" in shop.run("status").out
    again = shop.run("up", "--json")
    assert json.loads(again.out)["baked"] == []
    assert shop.run("up", "--progress", "quiet").err == ""
    assert "nothing to do: 3 machines as declared" in shop.run("up").err
    lines = shop.run("logs").out.splitlines()
    assert lines == ["db-1  | shop-db-1 boots", "web-1 | shop-web-1 boots", "web-2 | shop-web-2 boots"]
    assert shop.run("logs", "web").out.count("\n") == 2
    assert shop.run("logs", "db").out == "shop-db-1 boots\n"
    assert shop.run("stop", "web", "db-1").out == "shop-web-1\nshop-web-2\nshop-db-1\n"
    assert {machine.phase for machine in shop.platform.machines()} == {Phase.STOPPED}
    assert shop.run("start", "-p", "shop", "web").code == 0
    assert shop.run("restart", "-f", "machines.yaml", "db").out == "shop-db-1\n"
    unknown = shop.run("stop", "-p", "shop", "cache")
    assert (unknown.code, "There are: db-1, web-1, web-2." in unknown.err) == (2, True)
    shop.platform.destroy("shop-web-2")
    assert "shop: 1 machine up" in shop.run("up", "--restore", "-p", "shop").err
    (shop.directory / "machines.yaml").unlink()
    named = json.loads(shop.run("status", "-p", "shop", "--json").out)
    assert [machine["name"] for machine in named["machines"]] == ["db-1", "web-1", "web-2"]
    assert all(machine["in_sync"] for machine in named["machines"])
    down = shop.run("down", "-p", "shop", "--json")
    assert json.loads(down.out)["machines"] == ["db-1", "web-1", "web-2"]
    assert shop.machines() == []


@pytest.mark.tool
def test_questions(shop: Clusters) -> None:
    shop.run("up")
    nobody = shop.run("up", "--scale", "web=1")
    assert nobody.code == 2
    assert "add --yes" in nobody.err
    assert "1 machine to remove" in nobody.err
    assert shop.run("up", "--scale", "web=1", stdin="n\n").code == 2
    assert len(shop.machines()) == 3
    yes = shop.run("up", "--scale", "web=1", stdin="y\n")
    assert yes.code == 0, yes.err
    assert shop.machines() == ["shop-db-1", "shop-web-1"]
    (shop.directory / "other").mkdir()
    (shop.directory / "other/machines.yaml").write_text(FILE)
    other = ("-f", "other/machines.yaml")  # another cluster, called the same
    for words in (["up", *other], ["down", *other]):
        nobody = shop.run(*words)
        assert nobody.code == 2
        assert f"was brought up from {shop.directory}/machines.yaml, not from" in nobody.err
        assert shop.run(*words, stdin="n\n").code == 2
    for words in (["up", "--restore"], ["stop", "web"], ["restart", "db"], ["start", "web"]):
        assert "name it, if it is meant: -p shop" in shop.run(*words, *other).err
    assert "warning: the cluster shop was brought up from" in shop.run("status", *other).err
    assert shop.machines() == ["shop-db-1", "shop-web-1"]
    assert shop.run("down", *other, "--yes").code == 0
    assert shop.machines() == []


@pytest.mark.tool
def test_what_runs_well_is_for_a_rollout(shop: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run("up")
    monkeypatch.setenv("HI", "servus")
    planned = shop.run("plan")
    assert "up does not replace healthy machines (web-1, web-2)" in planned.err
    result = shop.run("up")
    assert result.code == 2
    assert "GREETING" in result.err or "config" in result.err
    assert shop.run("up", "--recreate", "-y").code == 0


@pytest.mark.tool
def test_plan_shows_terraforms_own(shop: Clusters) -> None:
    result = shop.run("plan", "-v")
    assert result.code == 0, result.err
    assert 'stoneware_machine.machine["web-2"] will be created' in result.err
    assert not (shop.store.home / "clusters").exists()


@pytest.mark.tool
def test_a_machine_that_fails(shop: Clusters) -> None:
    shop.platform.broken = {"shop-web-2"}
    result = shop.run("up")
    assert result.code == 1
    assert "web-2: FAILED" in result.err
    assert "no such setting" in result.err
    assert "→ stoneware logs shop-web-2    # then `stoneware up` continues from here" in result.err
    again = shop.run("up", "--yes", "-f", "machines.yaml", "-p", "shop")
    assert "`stoneware up -f machines.yaml -p shop` continues" in again.err


@pytest.mark.tool
def test_drift_of_machines_that_do_not_answer(shop: Clusters) -> None:
    shop.run("up")
    result = shop.run("drift", "--timeout", "0.1")
    assert result.code == 5
    assert "unknown" in result.out
    assert json.loads(shop.run("drift", "--timeout", "0.1", "--json").out)["in_sync"] is False


@pytest.mark.tool
def test_progress_as_json_and_results_as_json(shop: Clusters) -> None:
    result = shop.run("up", "--progress", "json", "--json")
    assert json.loads(result.out)["cluster"] == "shop"
    assert [json.loads(line)["event"] for line in result.err.splitlines()][-1] == "machine_finished"


# -- finding machines --------------------------------------------------------------------------------


@pytest.fixture
def two() -> FakePlatform:
    platform = FakePlatform()
    for cluster in ("shop", "other"):
        for service, slot in (("web", 1), ("web", 2), ("db", 1)):
            labels = {
                "stoneware.cluster": cluster,
                "stoneware.service": service,
                "stoneware.machine": f"{service}-{slot}",
            }
            platform.add(f"{cluster}-{service}-{slot}", spec={"labels": labels})
    labels = {"stoneware.cluster": "shop", "stoneware.service": "only", "stoneware.machine": "only-1"}
    platform.add("shop-only-1", spec={"labels": labels})
    platform.add("web-2", phase=Phase.RUNNING, health=Health.NONE)
    return platform


@pytest.mark.parametrize(
    ("name", "here", "found"),
    [
        ("shop-web-1", "", "shop-web-1"),
        ("web-1", "other", "other-web-1"),
        ("web-2", "shop", "web-2"),  # the exact name wins
        ("only-1", "", "shop-only-1"),
        ("only", "other", "shop-only-1"),
        ("db", "shop", "shop-db-1"),
        ("db-1", "shop", "shop-db-1"),
        ("m0000003", "", "shop-db-1"),
    ],
)
def test_what_a_name_means(two: FakePlatform, name: str, here: str, found: str) -> None:
    assert find_machine(two, name, prefer=lambda: here).name == found


@pytest.mark.parametrize(
    ("name", "here", "words"),
    [
        ("web-1", "", ["shop-web-1", "other-web-1"]),
        ("web-1", "third", ["shop-web-1", "other-web-1"]),
        ("web", "shop", ["shop-web-1", "shop-web-2"]),
        ("nobody", "shop", ["there is no machine 'nobody'"]),
    ],
)
def test_names_that_are_not_one_machine(two: FakePlatform, name: str, here: str, words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        find_machine(two, name, prefer=lambda: here)
    text = f"{raised.value.brief} {raised.value.details}"
    assert all(word in text for word in words)


def test_the_file_is_read_only_where_it_decides(two: FakePlatform) -> None:
    def never() -> Any:
        raise AssertionError

    assert find_machine(two, "only-1", prefer=never).name == "shop-only-1"


def test_secrets_have_to_be_there_only_where_machines_are_made(shop: Clusters) -> None:
    secret = "    secrets: [token]\nsecrets:\n  token:\n    file: ./token\n"
    shop.write(FILE + secret)
    for words in (["up"], ["plan"]):
        result = shop.run(*words)
        assert result.code == 2
        assert "token" in result.err
    assert shop.run("config", "-q").code == 0
    assert shop.run("status").code == 0
    assert "is not up" in shop.run("down").err


@pytest.mark.tool
def test_a_secret_may_come_from_the_env_file(shop: Clusters) -> None:
    secret = "    secrets: [token]\nsecrets:\n  token:\n    environment: TOKEN\n"
    shop.write(FILE + secret)
    (shop.directory / ".env").write_text("TOKEN=of the file\n")
    result = shop.run("up")
    assert result.code == 0, result.err
    assert [value for values in shop.platform._secrets.values() for value in values] == [b"of the file"]


def test_short_names_are_completed(two: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "open_store", lambda **_: None)
    monkeypatch.setattr(context, "open_platform", lambda _=None: two)
    assert complete.machines("web") == ["web-1", "web-2"]
    assert complete.machines("other-d") == ["other-db-1"]
