"""Commands about images: images, history, tag, rmi, render, prune and init."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoneware.platforms.upkeep import Unused
from tests.cli.conftest import Cli
from tests.cli.fakes import FakePlatform, FakeStore, FakeUpkeep


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
