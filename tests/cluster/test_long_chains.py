"""Chains as long as a file makes them: read to their end, or refused with a place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.cluster.down import _depths
from stoneware.compose.load import load_cluster
from stoneware.errors import InputError
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import ResolvedBase
from stoneware.platforms.local.host.cgroups import _groups_in, _remove_group

pytestmark = pytest.mark.pure
LONG = 1500


def test_services_that_need_each_other_in_a_chain() -> None:
    chain: dict[str, dict[str, object]] = {f"s{at}": {f"s{at + 1}": {}} for at in range(LONG)}
    assert _depths(["s0"], chain)["s0"] == LONG
    # As many ways through these as there are atoms: each service is looked at once.
    layers: dict[str, dict[str, object]]
    layers = {f"{side}{at}": {f"a{at + 1}": {}, f"b{at + 1}": {}} for at in range(300) for side in "ab"}
    assert _depths(["a0", "b0"], layers)["a0"] == 300
    assert _depths(["a", "b", "c"], {"a": {"b": {}}, "b": {"a": {}}, "c": {"a": {}, "c": {}}})["c"] >= 1
    assert _depths(["d", "a"], {"a": {"b": {}, "c": {}}, "c": {"b": {}}, "d": {}}) == {
        **{"a": 2, "b": 0, "c": 1},
        "d": 0,
    }


def _extends(count: int) -> str:
    lines = [f"  s{at}: {{extends: {{service: s{at + 1}}}}}" for at in range(count)]
    return "\n".join(["services:", *lines, f"  s{count}: {{image: 'debian:12'}}", ""])


def _aliases(count: int) -> str:
    lines = ["x-0: &a0 {a: 1}", *(f"x-{at}: &a{at} {{b: *a{at - 1}}}" for at in range(1, count))]
    return "\n".join([*lines, "services: {a: {image: 'debian:12'}}", ""])


@pytest.mark.parametrize(
    ("text", "most", "said"),
    [
        (_extends, 50, "extends goes through more than 50 services"),
        (_aliases, 120, "with its aliases nested deeper than 128 levels"),
    ],
)
def test_chains_in_a_cluster_file(tmp_path: Path, text: Callable[[int], str], most: int, said: str) -> None:
    file = tmp_path / "machines.yaml"
    for count in (LONG, most):
        file.write_text(text(count))
        if count == most:
            load_cluster([file], directory=tmp_path, environment={}, project_name="c")
            continue
        with pytest.raises(InputError) as caught:
            load_cluster([file], directory=tmp_path, environment={}, project_name="c")
        assert said in caught.value.brief + caught.value.details


def test_files_that_include_each_other_in_a_chain(tmp_path: Path) -> None:
    for at in range(300):
        (tmp_path / f"{at}.yaml").write_text(f"include: [{at + 1}.yaml]\n")
    (tmp_path / "300.yaml").write_text("services: {a: {image: 'debian:12'}}\n")

    def load(first: int) -> int:
        files = [tmp_path / f"{first}.yaml"]
        return len(load_cluster(files, directory=tmp_path, environment={}, project_name="c").services)

    assert load(260) == 1
    with pytest.raises(InputError) as caught:
        load(0)
    assert "include goes through more than 50 files" in caught.value.brief + caught.value.details


def test_stages_that_need_later_ones_in_a_chain() -> None:
    """Only a stage that is built counts; a circle is told wherever it is."""

    def text(last: str) -> str:
        stages = [f"FROM debian:12 AS s{at}\nCOPY --from=s{at + 1} /a /a\n" for at in range(LONG)]
        return "".join([*stages, f"FROM debian:12 AS s{LONG}\n{last}\n", "FROM debian:12\nRUN true\n"])

    def resolve(_: str) -> ResolvedBase:
        return ResolvedBase("base", "base-debian:12")

    assert load_recipe(text("RUN true"), resolve_base=resolve)
    with pytest.raises(InputError, match="the stages need each other: s0 → s1 → s2 → "):
        load_recipe(text("COPY --from=s0 /a /a"), resolve_base=resolve)


def test_control_groups_that_a_machine_has_made_very_deep(tmp_path: Path) -> None:
    group = tmp_path / "m1"
    (group / "beside/inner").mkdir(parents=True)
    at = os.open(group, os.O_RDONLY)
    for _ in range(LONG * 3):  # deeper than a path may be long
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    names = [name for _, name in _groups_in(group)]
    assert sorted(names) == sorted(["m1", "beside", "inner", *["d"] * LONG * 3])
    assert names.index("inner") < names.index("beside") < names.index("m1") == len(names) - 1
    _remove_group(group)
    assert not group.exists()
    _remove_group(group)  # gone already
    stays = tmp_path / "m2"
    (stays / "busy").mkdir(parents=True)
    (stays / "busy/file").touch()
    (stays / "idle").mkdir()
    _remove_group(stays)
    assert [path.name for path in stays.iterdir()] == ["busy"]
