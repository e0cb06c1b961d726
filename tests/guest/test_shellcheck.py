"""The guest scripts are POSIX sh that shellcheck and dash accept, each alone and assembled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.guest.agent import build_agent_script
from tests.guest.support import GUEST, SHELLS

pytestmark = pytest.mark.tool
SCRIPTS = sorted([*GUEST.glob("stoneware-*.sh"), GUEST / "service-exec"])
REPOSITORY = GUEST.parents[2]


def _assembled(tmp_path: Path) -> Path:
    script = tmp_path / "agent.sh"
    script.write_text(build_agent_script())
    return script


def _shellcheck(*args: str | Path) -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "shellcheck is neither beside this Python nor on PATH"
    done = subprocess.run([program, *args], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    _shellcheck("-x", script)


def test_shellcheck_of_the_build_agent(tmp_path: Path) -> None:
    _shellcheck("-s", "sh", _assembled(tmp_path))


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_syntax(shell: str, tmp_path: Path) -> None:
    for script in [*SCRIPTS, _assembled(tmp_path)]:
        subprocess.run([*SHELLS[shell], "-n", script], check=True)
