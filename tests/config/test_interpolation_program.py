"""How the interpolation program is called: files, names, values, wrong usage, big templates."""

from __future__ import annotations

import subprocess

import pytest

from stoneware.config.render import program
from tests.config import oracle
from tests.config.awks import PRESENT, encoded, every_awk, interpolate

pytestmark = pytest.mark.tool


@every_awk
@pytest.mark.parametrize(
    ("template", "line"),
    [(b"\0", 1), (b"a\nb\0c\n\0", 2), (b"a\n\n\n\n\0", 5), (b"x" * 9000 + b"\n\0", 2)],
)
def test_nul_bytes_are_refused_with_their_line(awk, template, line):
    got = interpolate(awk, template)
    assert (got.code, got.out) == (2, b"")
    assert got.err == f"t:{line}: a NUL byte; templates are text\n".encode()


def run(awk, *words, stdin=b"", locale="C", cwd=None):
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": locale}
    argv = [*awk, "-f", str(program()), *words]
    return subprocess.run(argv, input=stdin, capture_output=True, env=env, cwd=cwd, check=False)


@every_awk
@pytest.mark.parametrize(
    "name", ["a b", "it's", "x=1", "-v", "$HOME", "a;id", "a\\nb", "a:b", "é", "*", "`id`"]
)
def test_template_names_are_paths_whatever_they_look_like(awk, name, tmp_path):
    (tmp_path / name).write_bytes(b"<${A:-d}>")
    path = str(tmp_path / name)
    got = run(awk, path)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"<d>", b"")
    (tmp_path / name).write_bytes(b"\n$A")
    got = run(awk, path)
    assert (got.returncode, got.stdout) == (2, b"")
    assert got.stderr == f"{path}:2: variable A is not set and has no default\n".encode()


@every_awk
def test_a_relative_template_named_like_an_assignment(awk, tmp_path):
    (tmp_path / "mode=list").write_bytes(b"ok")
    assert run(awk, "mode=list", cwd=tmp_path).stdout == b"ok"


@every_awk
def test_a_failing_read_is_no_empty_file(awk, tmp_path):
    """A disk error in the middle must not give half a config file: here `tee` copies a bit and fails."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "tee").write_text("#!/bin/sh\necho half; echo half >&3; exit 1\n")
    (tools / "tee").chmod(0o755)
    env = {"PATH": f"{tools}:/usr/bin:/bin", "LC_ALL": "C"}
    argv = [*awk, "-f", str(program()), "-v", "name=t"]
    got = subprocess.run(argv, input=b"a\nb\n", capture_output=True, env=env, check=False)
    assert (got.returncode, got.stdout, got.stderr) == (2, b"", b"t: cannot read this template\n")


@every_awk
def test_later_files_of_values_win(awk, tmp_path):
    (tmp_path / "env").write_bytes(encoded({"A": b"1", "B": b"old\n"}))
    (tmp_path / "config").write_bytes(encoded({"B": b"new"})[:-1])  # no newline at the end
    got = run(awk, "-v", f"values={tmp_path}/env:{tmp_path}/config", stdin=b"$A $B")
    assert (got.returncode, got.stdout) == (0, b"1 new")


@every_awk
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nowhere/template"], "/nowhere/template: cannot read this template"),
        (["/"], "/: cannot read this template"),
        (["-v", "values=/nowhere/values", "-"], "/nowhere/values: cannot read this file of values"),
        (["-v", "mode=dance", "-"], "<stdin>: unknown mode dance"),
        (["a", "b"], "a: one template at a time"),
    ],
)
def test_wrong_usage_is_said(awk, words, message):
    got = run(awk, *words)
    assert (got.returncode, got.stdout, got.stderr.decode()) == (2, b"", message + "\n")


@every_awk
def test_a_damaged_file_of_values_is_refused_with_its_line(awk, tmp_path):
    (tmp_path / "values").write_text("A=1\nnonsense\n")
    got = run(awk, "-v", f"values={tmp_path}/values", stdin=b"$A")
    assert (got.returncode, got.stdout) == (2, b"")
    assert got.stderr.decode() == f"{tmp_path}/values:2: expected KEY=VALUE\n"


@pytest.mark.skipif("gawk" not in PRESENT, reason="only gawk counts characters")
def test_a_multibyte_locale_is_refused():
    got = run(PRESENT["gawk"], stdin=b"x", locale="C.UTF-8")
    assert (got.returncode, got.stdout) == (2, b"")
    assert b"run this program with LC_ALL=C" in got.stderr


def big_templates():
    """Name templates of about 1 MB that would take a quadratic program minutes."""
    lines = "".join(f"key{i}=${{V{i}:-d{i}}} {'x' * 70} $V{i % 100}\n" for i in range(10_000))
    yield "lines", lines
    yield "one line", lines.replace("\n", " ")
    yield "nested", "${U:-" * 20_000 + "x" + "}" * 20_000
    yield "unclosed", "${U:-" * 20_000
    yield "one big value", "x" * 1_000_000 + "$BIG"


BIG = dict(big_templates())


@every_awk
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BIG)
def test_time_is_linear(awk, name, tmp_path):
    """mawk needs about 0.2 s for these, and for what grows with the square of their size minutes."""
    values = {f"V{i}": f"value {i}\n".encode() for i in range(10_000)} | {"BIG": b"a\nb\\" * 100_000}
    got = interpolate(awk, BIG[name].encode(), values=values, directory=tmp_path)
    assert got.code == (2 if name == "unclosed" else 0)
    if name == "lines":
        assert got.out == oracle.render(BIG[name].encode(), values)[0]


MANY = {
    "plain": b"a $A\n",
    "no newline at the end": b"$A\n$B",
    "sub/empty": b"",
    "sub/new lines": b"\n\n",
    "it's $(id) {}": b'${NONE:-{"q": 1}} $$ $ ${A:+x$B}\r\n',
    "bytes": b"\xff\xfe$A\x80\n",
    "0/5/x": b"5/x$B",
    "back\\nslash": b"$A\n",
}
FAULTY = {
    "nul": b"ok\n\0$A\n",
    "nul at the end": b"$A\n\0",
    "only nul": b"\0",
    "unset": b"$A\n$NO ${\n",
    "required": b"${M:?with $A}",
}


def render_many(awk, templates, directory):
    """Render all templates in one run into `directory`/out."""
    for name, text in templates.items():
        for place in ("in", "out"):
            path = directory / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if place == "in" else b"what was there before")
    (directory / "values").write_bytes(encoded({"A": b"1\n", "B": b"\\&"}))
    listed = "".join(f"{len(text)}/{name}\n" for name, text in templates.items())
    (directory / "list").write_text(listed)
    words = ["-v", f"values={directory}/values", "-v", f"from={directory}/in", "-v", f"into={directory}/out"]
    return run(awk, *words, f"{directory}/list")


@every_awk
def test_many_templates_are_rendered_as_each_alone(awk, tmp_path):
    got = render_many(awk, MANY, tmp_path)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"", b"")
    for name, text in MANY.items():
        alone = run(awk, "-v", f"values={tmp_path}/values", stdin=text)
        assert (tmp_path / "out" / name).read_bytes() == alone.stdout, name


@every_awk
def test_of_many_templates_all_faults_are_said(awk, tmp_path):
    got = render_many(awk, {"first": b"$A", **FAULTY, "last": b"$A"}, tmp_path)
    assert (got.returncode, got.stdout) == (2, b"")
    assert got.stderr.decode().replace(f"{tmp_path}/in/", "").splitlines() == [
        "nul:2: a NUL byte; templates are text",
        "nul at the end:2: a NUL byte; templates are text",
        "only nul:1: a NUL byte; templates are text",
        "unset:2: variable NO is not set and has no default",
        "unset:2: malformed ${: there is no name (write $${ for a plain ${)",
        "required:1: required variable M is missing a value: with 1\\n",
    ]
    assert [(tmp_path / "out" / name).read_bytes() for name in ("first", "last")] == [b"1\n", b"1\n"]
    assert (tmp_path / "out" / "unset").read_bytes() == b"what was there before"
