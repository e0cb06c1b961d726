"""Hostile Machinefiles, schemas, templates, sealed results and trees: refused in words, within bounds."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoneware.bake.options import BakeOptions
from stoneware.bake.recipe_loading import find_machinefile
from stoneware.bake.seal_report import describe_seal, preload
from stoneware.cli.commands.bake import parse_secret
from stoneware.cluster.secrets import read_secrets
from stoneware.compose.load import load_cluster
from stoneware.config.envfile import parse_assignments
from stoneware.durations import parse_duration
from stoneware.errors import BuildError, HostError, InputError, StonewareError
from stoneware.files import write_json
from stoneware.launch.flags import parse_port
from stoneware.launch.preview import templates_of
from stoneware.machinefile import globs, gopath
from stoneware.machinefile.ignore import compile_patterns
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import ImageConfig, ResolvedBase
from stoneware.model import limits
from stoneware.platforms.local.store.pool import parse_size
from stoneware.terraform import results
from stoneware.untrusted.bounded import BoundsError, read_input
from stoneware.untrusted.rooted_paths import files_inside

FROM = "FROM debian:12\n"
# Python refuses to read numbers of thousands of digits with an error of its own.
NUMBERS = (
    "EXPOSE MANY",
    "EXPOSE 1-MANY",
    "STOPSIGNAL MANY",
    "STOPSIGNAL RTMIN+MANY",
    "HEALTHCHECK --interval=MANYs CMD x",
    "COPY --chmod=7MANY a /",
    "COPY --chown=MANY a /",
    "COPY --chown=a:MANY a /",
    "RUN --mount=type=cache,target=/x,uid=MANY x",
    "RUN --mount=type=secret,id=x,mode=7MANY x",
    "RUN --mount=type=tmpfs,target=/x,size=MANYt x",
)


@pytest.mark.parametrize(
    "text",
    [
        "\\",
        "\\\n",
        FROM + "\\",
        FROM + "RUN --móunt=x y",
        FROM + "ENV A=" + "${A-" * 200 + "}" * 200,
        FROM + "COPY " + "${A-" * 2_000 + "}" * 2_000 + " /x",
        "ARG A=" + "${A:-" * 300 + "\n" + FROM,
        FROM + "ENV A=" + '"${A-' * 1_000,
        FROM + "A" * 10_000_000,
        FROM + "RUN \udcff",
        FROM + "ENV A=aaaaaaaa\n" + "".join(f"ENV A={'${A}' * 50}\n" for _ in range(20)),
        FROM + "ONBUILD " * 2_000 + "RUN x",
        FROM + "\0",
        "",
        *(FROM + text.replace("MANY", "9" * 5_000) for text in NUMBERS),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_machinefiles(text: str) -> None:
    with pytest.raises(InputError) as raised:
        load_recipe(text, resolve_base=lambda _: ResolvedBase("base", "x"))
    assert raised.value.location.startswith("Machinefile:")


def test_a_pattern_that_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoneware.machinefile.lex._PATIENCE", 0.2)
    text = FROM + "ENV A=" + "a" * 20_000 + "\nENV B=${A/" + "*a" * 30 + "b/x}"
    with pytest.raises(InputError, match="takes longer"):
        load_recipe(text, resolve_base=lambda _: ResolvedBase("base", "x"))


def test_things_that_are_no_machinefile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in (".", "fifo", "/dev/zero", "missing"):
        with pytest.raises(InputError):
            find_machinefile(BakeOptions(context=tmp_path, file=tmp_path / name))


SUM = b"0" * 64 + b" 3 40\n"
GOOD = {"files.sum": SUM, "packages.tsv": b"", "services.tsv": b""}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"files.sum": SUM},
        {"packages.tsv": b""},
        {"files.sum": b"", "packages.tsv": b""},
        {"files.sum": b"\xff\xfe", "packages.tsv": b""},
        {"files.sum": b"x 1 2", "packages.tsv": b""},
        {"files.sum": b"0" * 64 + b" -1 2", "packages.tsv": b""},
        {"files.sum": b"0" * 64 + b" " + b"9" * 5_000 + b" 2", "packages.tsv": b""},
        {"files.sum": SUM, "packages.tsv": b"\xff"},
        {"files.sum": SUM, "packages.tsv": b"one\ttwo\n"},
        {"files.sum": SUM, "packages.tsv": b"a\tb\tc\td\n"},
        {"files.sum": SUM, "packages.tsv": b""},
        {"files.sum": SUM, "packages.tsv": b"", "services.tsv": b"a\tb\tyes\n"},
        {"files.sum": SUM, "packages.tsv": b"", "services.tsv": b"a\tstep\t\n"},
        {**GOOD, "etc/stoneware/config.schema.json": b"[" * 9_999},
        {**GOOD, "etc/stoneware/templates/x": b"${" * 100},
    ],
    ids=lambda files: repr(files)[:60],
)
def test_sealed_results(files: dict[str, bytes]) -> None:
    with pytest.raises((BuildError, InputError)):
        describe_seal(files, ImageConfig(), ())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root file system whose directories and files are links to the host's, FIFOs and devices."""
    root, host = tmp_path / "root", tmp_path / "host"
    (host / "stoneware" / "templates").mkdir(parents=True)
    for name in ("stoneware/templates/secret.conf", "stoneware/config.schema.json"):
        (host / name).write_text("the host's own ${SECRET}")
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "stoneware").symlink_to(host / "stoneware")
    return root


def test_links_out_of_an_image_are_not_followed(tree: Path) -> None:
    assert list(files_inside(tree, "etc/stoneware/templates", most=100)) == []
    assert list(templates_of(tree)) == []
    preload(tree, expected=False)
    (tree / "etc" / "stoneware").unlink()
    top = tree / "etc" / "stoneware" / "templates"
    top.mkdir(parents=True)
    (top / "link.conf").symlink_to("/etc/passwd")
    (top / "directory").symlink_to("/etc")
    (top / "own.conf").write_text("own")
    os.mkfifo(top / "fifo")
    assert list(templates_of(tree)) == [("/own.conf", b"own")]
    with (top / "large.conf").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(InputError, match="templates"):
        list(templates_of(tree))
    preload(tree, expected=False)


@pytest.mark.parametrize(
    "text", ["9" * 400, "9" * 5_000 + "h", "nan", "inf", "1e400", "-1s", "", "1\n2", "٣" * 400]
)
def test_durations_and_sizes(text: str) -> None:
    with pytest.raises(InputError):
        parse_duration(text, "x")
    for parse in (parse_size, limits.parse_size, limits.parse_ulimit, parse_port):
        with pytest.raises(InputError):
            parse(text)
    with pytest.raises(InputError):
        limits.parse_ulimit(f"nofile={text}")
    with pytest.raises(InputError):
        parse_port(f"80:{text}")


def test_input_that_never_ends(tmp_path: Path) -> None:
    with pytest.raises(BoundsError):
        read_input(Path("/dev/zero"), 1 << 20)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BoundsError, match="no process writes"):
        read_input(tmp_path / "fifo", 10)


def test_a_fifo_whose_writer_is_slow_to_come(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = subprocess.Popen(["sh", "-c", 'printf A=b > "$1"', "sh", tmp_path / "fifo"])
    assert read_input(tmp_path / "fifo", 10) == b"A=b"
    assert writer.wait() == 0


STARS = "*a" * 30 + "*b"


@pytest.mark.parametrize(
    "pattern", [STARS, "**/a/" * 30 + "b", "**a" * 30 + "**b", "a*" * 30 + "?b", "[^b]*" * 30 + "b"]
)
def test_patterns_that_re_would_try_for_years(pattern: str) -> None:
    name = "a/" * 60 + "a" * 120
    assert not compile_patterns([pattern]).matches(f"{name}c")
    assert not gopath.match(pattern, "a" * 250)
    assert gopath.match(STARS, "a" * 250 + "b")
    assert compile_patterns(["**/a/" * 30 + "b"]).matches("x/" + "a/" * 70 + "b")


def test_a_pattern_longer_than_any_path() -> None:
    with pytest.raises(InputError):
        compile_patterns(["*a" * 100_000])


piece = st.one_of(
    st.just(globs.DIRS),
    st.builds(globs.Piece, st.sampled_from([".", "[^/]"]), many=st.just(True)),
    st.builds(globs.Piece, st.sampled_from(["a", "b", "/", "[^a]", "[^/]"])),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(piece, min_size=3, max_size=8), st.lists(st.text("ab/\n", max_size=9), max_size=6))
def test_the_automaton_says_what_re_says(pieces: list[globs.Piece], texts: list[str]) -> None:
    automaton = globs._Automaton(pieces)
    expression = re.compile("".join(each.text for each in pieces) + r"\Z")
    for text in texts:
        assert bool(automaton.match(text)) == bool(expression.match(text))


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        write_json(tmp_path / "record.json", {"labels": {"a": "\udcff"}})
    assert list(tmp_path.glob("*record*")) == []
    with pytest.raises(InputError, match="the value of 'A'"):
        parse_assignments(["A=\udcff"])


@pytest.mark.parametrize(
    "line",
    ["{", "{}", "[" * 9_000, "{" * 9_000, '{"type": [], "hook": 1}', '{"type": "apply_start", "hook": 1}'],
)
def test_what_a_terraform_says(line: str, tmp_path: Path) -> None:
    results.message(line)
    assert results.parse_progress(line) is None
    assert results.diagnostics(line, "") == ()


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 9_000, '{"resource_changes": [1]}', '{"resource_changes": 1}']
)
def test_a_plan_that_is_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be read"), results.understood("its plan"):
        results.parse_plan(results.document(text), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        'services: {a: {image: "\\ud800"}}',
        'services: {a: {image: "\\0"}}',
        'services: {a: {image: a, ports: ["1-65535:1-65535"]}}',
    ],
)
def test_cluster_files_end_in_words(tmp_path: Path, text: str) -> None:
    from stoneware.compose.load import load_cluster

    (tmp_path / "machines.yaml").write_text(text)
    with pytest.raises(StonewareError):
        load_cluster(None, directory=tmp_path, environment={})


KINDS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a character device": lambda path: path.symlink_to("/dev/zero"),
    "there is no file": lambda path: path.symlink_to("/nowhere/at/all"),
    "cannot read": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_that_is_no_file_says_what_it_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    KINDS[kind](path)
    with pytest.raises(InputError, match=kind):
        parse_secret(f"id=token,src={path}")
    if "no file" not in kind:
        with pytest.raises(InputError, match=kind):
            find_machinefile(BakeOptions(tmp_path, file=path))
    used = {
        "services": {"web": {"image": "x", "secrets": ["token"]}},
        "secrets": {"token": {"file": "token"}},
    }
    (tmp_path / "machines.yaml").write_text(json.dumps({"name": "c", **used}))
    with pytest.raises(InputError, match=kind):
        load_cluster(None, directory=tmp_path, environment={})
    cluster = load_cluster(
        None, directory=tmp_path, environment={}, check_secrets=False
    )  # as for a command that only looks
    with pytest.raises(InputError, match="token is missing") as raised:
        read_secrets(cluster, {})
    assert kind in raised.value.details


@pytest.mark.parametrize("owner", ["a:b:c", "::", "4294967295", "0:4294967295", "a:\x07b"])
def test_owners_that_are_none(owner: str) -> None:
    with pytest.raises(InputError, match="invalid chown parameter"):
        load_recipe(
            f"{FROM}ENV A='{owner}'\nCOPY --chown=$A a /\n", resolve_base=lambda _: ResolvedBase("base", "x")
        )


@pytest.mark.parametrize("name", ["PATH", "HOME", "IFS", "ENV", "BASH_ENV", "LD_PRELOAD", "LD_LIBRARY_PATH"])
def test_variables_that_a_secret_cannot_be(name: str) -> None:
    with pytest.raises(InputError, match=f"cannot be the variable {name}") as raised:
        load_recipe(
            f"{FROM}RUN --mount=type=secret,id=a,env={name} x\n",
            resolve_base=lambda _: ResolvedBase("base", "x"),
        )
    assert raised.value.location.endswith(":2")
