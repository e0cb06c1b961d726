"""Commands in forks of a server are as those in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests import commands


def real(words: list[str], env: dict[str, str], cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [*commands.PROGRAM, *words], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def forked(words: list[str], env: dict[str, str], cwd: Path) -> tuple[int, str, str]:
    done = commands.run(words, env=env, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", [["version"], ["--help"], ["no-such-command"], ["config", "--quiet"]])
def test_they_say_and_return_the_same(words: list[str], tmp_path: Path) -> None:
    # The file is found from the directory, and filled in from the environment.
    (tmp_path / "machines.yaml").write_text("services: {web: {image: '${IMAGE:?is missing}'}}\n")
    env = {**os.environ, "STONEWARE_HOME": str(tmp_path / "store")}

    assert forked(words, env, tmp_path) == real(words, env, tmp_path)
    filled = env | {"IMAGE": "tiny"}
    assert forked(words, filled, tmp_path) == real(words, filled, tmp_path)


def test_what_python_takes_from_the_environment_has_a_process_of_its_own(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONVERBOSE": "1"}
    assert "import 'site'" in commands.run(["version"], env=env, cwd=tmp_path).stderr


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "machines.yaml"
    os.mkfifo(pipe)  # whose reader waits for ever
    with pytest.raises(subprocess.TimeoutExpired):
        commands.run(["config", "--env-file", str(pipe)], env=dict(os.environ), cwd=tmp_path, timeout=0.1)
    assert commands.run(["version"], env=dict(os.environ)).returncode == 0


def test_several_at_once(tmp_path: Path) -> None:
    found: list[int] = []

    def run(directory: Path) -> None:
        found.append(commands.run(["version"], env=dict(os.environ), cwd=directory).returncode)

    threads = [threading.Thread(target=run, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 4


def test_one_can_be_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "machines.yaml"
    os.mkfifo(pipe)
    words = ["config", "--env-file", str(pipe)]
    done = commands.run(
        words, env=dict(os.environ), cwd=tmp_path, started=lambda pid: os.kill(pid, signal.SIGKILL)
    )
    assert done.returncode == -signal.SIGKILL
