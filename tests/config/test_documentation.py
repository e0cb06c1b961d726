"""The reference's examples do what they show, and its JSON is a schema."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.config.contract import check_config, derive_contract
from stoneware.config.schema import load_schema

PAGE = (Path(__file__).parents[2] / "docs" / "runtime-config.md").read_text()
CONSOLE = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


def commands(block: str) -> list[tuple[str, str]]:
    """Return each command of a block, with the lines of its here-document, and the output shown for it."""
    found = []
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, _, rest = text.partition("\n")
        marker = re.search(r"<<'(\w+)'$", first)
        inside, _, shown = rest.partition(f"{marker[1]}\n") if marker else ("", "", rest)
        found.append((f"{first}\n{inside}{marker[1]}\n" if marker else f"{first}\n", shown))
    return found


@pytest.mark.tool
@pytest.mark.parametrize("block", CONSOLE)
def test_console_blocks(block, tmp_path):
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for command, shown in commands(block):
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env={"PATH": path, "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)


def test_there_are_examples():
    assert len(CONSOLE) >= 4


@pytest.mark.tool
def test_the_schema_of_the_page():
    text = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    contract = derive_contract({}, {}, load_schema(text[1].encode()))
    assert contract["env"] == {"PORT": "80"}
    assert check_config(contract, {"HOST": "a.b", "MODE": "fast"}) == []
    assert len(check_config(contract, {"TLS": "yes", "MODE": "slow"})) == 4


@pytest.mark.tool
def test_the_problems_of_the_page():
    path = "/etc/stoneware/templates/etc/broken.conf"
    schema = {"properties": {"PORT": {"type": "integer"}}}
    contract = derive_contract({path: b"$PORT\n${NAME:?the public name of this service}"}, {}, schema)
    for problem in check_config(contract, {"PORT": "80a"}):
        assert f"    {problem}\n" in PAGE
