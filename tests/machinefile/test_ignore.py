"""Ignore files and wildcards, against answers of moby/patternmatcher and Go's filepath.Match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.machinefile import gopath
from stoneware.machinefile.ignore import load_ignore, read_ignore
from tests.machinefile.support import CASES

IGNORE = json.loads((CASES / "ignore.json").read_text())
MATCH = json.loads((CASES / "match.json").read_text())


@pytest.mark.parametrize("case", IGNORE, ids=lambda case: case["name"])
def test_ignore_file(case: dict[str, Any]) -> None:
    if case.get("error"):
        with pytest.raises(InputError) as caught:
            read_ignore(case["file"], ".dockerignore")
        assert caught.value.location == ".dockerignore:1"
        assert "bad pattern" in caught.value.brief
        return
    matcher = read_ignore(case["file"], ".dockerignore")
    paths = [*case["ignored"], *case["kept"]]
    assert [path for path in paths if matcher.matches(path)] == case["ignored"]


@pytest.mark.parametrize(("pattern", "name", "want"), MATCH)
def test_filepath_match(pattern: str, name: str, want: bool | str) -> None:
    if want == "bad":
        with pytest.raises(gopath.BadPattern):
            gopath.match(pattern, name)
    else:
        assert gopath.match(pattern, name) is want


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("", "."),
        ("/", "/"),
        ("//a", "/a"),
        ("a//b/../c/.", "a/c"),
        ("../a", "../a"),
        ("/../a", "/a"),
        ("./", "."),
    ],
)
def test_clean(path: str, want: str) -> None:
    assert gopath.clean(path) == want


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("/a/b", ("/a/b", "")),
        ("/a/b*/c", ("/a", "b*/c")),
        ("/*", ("/", "*")),
        ("/a\\*/b", ("/a\\*/b", "")),
        ("/a/[b]", ("/a", "[b]")),
    ],
)
def test_split_wildcards(path: str, want: tuple[str, str]) -> None:
    assert gopath.split_wildcards(path) == want


def test_order_of_ignore_files(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    machinefile = tmp_path / "My.machinefile"
    assert not load_ignore(context, machinefile).patterns
    for path in (
        context / ".dockerignore",
        tmp_path / "My.machinefile.dockerignore",
        context / ".machineignore",
        tmp_path / "My.machinefile.machineignore",
    ):
        path.write_text(f"x\n{path.name}\n")
        found = load_ignore(context, machinefile)
        assert found.filename == path.name
        assert found.matches(path.name)


def test_an_empty_machineignore_hides_the_dockerignore(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("*\n")
    (tmp_path / ".machineignore").write_text("")
    assert not load_ignore(tmp_path).matches("a")


def test_the_pattern_at_fault_is_named() -> None:
    matcher = read_ignore("# first\na\n\n*.md\n!README.md\n", ".machineignore")
    culprit = matcher.culprit("x.md")
    assert culprit is not None
    assert (culprit.text, culprit.line) == ("*.md", 4)
    assert matcher.culprit("README.md") is None
