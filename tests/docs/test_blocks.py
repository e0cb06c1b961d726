from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.blocks import Command, blocks_of, commands_of, matches
from tests.docs.shell import Shell

PAGE = """\
# Title

```console {machine}
$ echo one
one
$ cat <<'END' > file
$ not a command
END
$ printf 'a\\n' \\
    'b'
$ false
[exit 1]
```

```json
{}
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_blocks_and_their_commands(page: Path) -> None:
    console, json = blocks_of(page)
    assert (console.language, console.line) == ("console", 4)
    assert console.info == {"machine"}
    assert (json.language, json.text) == ("json", "{}\n")
    assert commands_of(console) == [
        Command(4, "echo one", "one", 0),
        Command(6, "cat <<'END' > file\n$ not a command\nEND", "", 0),
        Command(9, "printf 'a\\n' \\\n    'b'", "", 0),
        Command(11, "false", "", 1),
    ]


def test_a_block_without_an_end_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```console\n$ x\n")
    with pytest.raises(AssertionError, match="no end"):
        list(blocks_of(path))


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("", "", True),
        ("a", "a\n", True),
        ("a", "a", True),
        ("a", "b\n", False),
        ("a", "a\nb\n", False),
        ("a\n...", "a\nb\nc\n", True),
        ("...\nc", "a\nb\nc\n", True),
        ("...", "", True),
        ("a ... d", "a b c d\n", True),
        ("a...", "abc\n", True),
        ("NAME TAG", "NAME     TAG\n", True),
        ("NAME   TAG", "NAMETAG\n", False),
        ("a.c", "abc\n", False),
        ("", "a\n", False),
    ],
)
def test_matching(expected: str, actual: str, same: bool) -> None:
    assert matches(expected, actual) is same


def test_a_shell_keeps_its_state(tmp_path: Path) -> None:
    with Shell(tmp_path, {"PATH": os.environ["PATH"]}) as shell:
        assert shell.run("cd /; X=1") == ("", 0)
        assert shell.run('echo "$PWD $X"; echo err >&2') == ("/ 1\nerr\n", 0)
        assert shell.run("printf no-newline; false") == ("no-newline", 1)
        assert shell.run("cat") == ("", 0)
        with pytest.raises(TimeoutError):
            shell.run("sleep 5", timeout=0.1)
