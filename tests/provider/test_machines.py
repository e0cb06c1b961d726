"""The example of docs/provider.md with real machines, applied by a Terraform of the user's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.terraform.engine import BinaryEngine, Engine, LibraryEngine, Output
from tests import programs
from tests.platforms.awaiting import awaited

pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "stoneware"
MACHINE, NETWORK, VOLUME = "hello-1", "hello-front", "hello-data"

Run = Callable[..., Output]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Return the Terraform found on this computer, else the embedded one in a process of its own."""
    found = programs.terraform()
    chosen: Engine = BinaryEngine(found) if found else LibraryEngine()
    yield chosen
    chosen.close()


@pytest.fixture
def platform(machine_home: Path) -> Iterator[LocalPlatform]:
    """Give the platform of the session's store; what the example made is gone afterwards."""
    opened = LocalPlatform(LocalImageStore.open(machine_home))
    yield opened
    opened.destroy(MACHINE)
    opened.destroy_volume(VOLUME)
    opened.destroy_network(NETWORK)


@pytest.fixture
def run(tmp_path: Path, machine_home: Path, engine: Engine, platform: LocalPlatform) -> Run:
    """Run Terraform in a checkout with the example; other exit codes than `code` fail."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "examples" / "hello", checkout / "examples" / "hello")
    [example] = re.findall(r"^```hcl\n(.*?)^```", (ROOT / "docs/provider.md").read_text(), re.M | re.S)
    (checkout / "main.tf").write_text(example)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STONEWARE_HOME": str(machine_home),
        "CHECKPOINT_DISABLE": "1",
    }
    subprocess.run([PROGRAM, "terraform", "install"], env=environment, check=True, capture_output=True)

    def terraform(*words: str, code: int = 0) -> Output:
        done = engine.run([f"-chdir={checkout}", *words], environment, None)
        assert done.code == code, f"{words}: {done.code}\n{done.stdout}\n{done.stderr}"
        return done

    return terraform


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310  # our own machine
        text: str = response.read().decode()
        return text


def test_the_example(run: Run, platform: LocalPlatform) -> None:
    run("init", "-no-color")
    run("apply", "-auto-approve", "-no-color")
    outputs = {name: found["value"] for name, found in json.loads(run("output", "-json").stdout).items()}
    assert "Hello from Terraform" in fetch(outputs["url"])
    assert outputs["config"] == "GREETING=Hello from Terraform\n"
    assert outputs["image"].removeprefix("hello ") == outputs["status"]["image"]
    assert outputs["status"]["phase"] == "running"
    made = platform.observe(MACHINE)
    assert made is not None
    assert made.spec.networks == (NETWORK,)
    run("plan", "-detailed-exitcode", "-no-color")

    # Killed behind Terraform's back, it is started again; it is the same machine.
    assert made.leader is not None
    os.kill(made.leader, signal.SIGKILL)
    awaited(platform, MACHINE, lambda machine: machine is not None and machine.exit_code is not None, 30)
    shown = run("plan", "-detailed-exitcode", "-no-color", code=2).stdout
    assert "stoneware_machine.hello will be updated in-place" in shown
    assert re.search(r"running += false -> true", shown)
    run("apply", "-auto-approve", "-no-color")
    again = platform.observe(MACHINE)
    assert again is not None
    assert (again.id, again.health) == (made.id, "healthy")

    # Another config is another machine with the same disk; a wrong one is found by the plan.
    disk = platform.volume(VOLUME)
    refused = run("plan", "-no-color", "-var=greeting=", code=1)
    assert "cannot start with this config" in refused.stderr
    run("apply", "-auto-approve", "-no-color", "-var=greeting=Hello again")
    url = json.loads(run("output", "-json", "url").stdout)
    assert "Hello again" in fetch(url)
    replaced = platform.observe(MACHINE)
    assert replaced is not None
    assert replaced.id != made.id
    assert (replaced.ip, platform.volume(VOLUME)) == (made.ip, disk)

    run("destroy", "-auto-approve", "-no-color", "-var=greeting=Hello again")
    assert platform.observe(MACHINE) is None
    assert (platform.volume(VOLUME), platform.network(NETWORK)) == (None, None)
    tags = LocalImageStore.open(platform.store.home).tags()
    assert "hello:latest" not in tags
