"""The provider as an executable of its own, started by Terraform as any other plugin."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from stoneware.terraform.runner import SOURCE, Terraform, managed_addresses
from tests.platforms.memory import MemoryPlatform

from .conftest import Configure
from .test_interrupts import until_gone

pytestmark = pytest.mark.tool

REPOSITORY = Path(__file__).parents[2]
IN_MEMORY = """
from pathlib import Path
from stoneware.provider.plugin import serve
from stoneware.provider.provider import StonewareProvider
from tests.platforms.memory import MemoryPlatform
serve(StonewareProvider(lambda: MemoryPlatform(Path({journal!r}))))
"""


def install(directory: Path, arguments: list[str]) -> dict[str, str]:
    """Put an executable where Terraform finds it, and return the environment that says so."""
    plugins = directory / "plugins"
    plugins.mkdir()
    executable = plugins / "terraform-provider-stoneware"
    command = shlex.join([sys.executable, *arguments])
    executable.write_text(f"#!/bin/sh\ncd {shlex.quote(str(REPOSITORY))} && exec {command}\n")
    executable.chmod(0o755)
    settings = directory / "terraform.rc"
    overrides = f"dev_overrides {{\n    {json.dumps(SOURCE)} = {json.dumps(str(plugins))}\n  }}"
    settings.write_text(f"provider_installation {{\n  {overrides}\n}}\n")
    return {"TF_CLI_CONFIG_FILE": str(settings), "HOME": str(directory)}


@pytest.mark.parametrize("engine", ["library", "binary"])
def test_terraform_starts_it(
    tmp_path: Path, configure: Configure, request: pytest.FixtureRequest, engine: str
) -> None:
    binary = request.getfixturevalue("binary") if engine == "binary" else None
    journal = tmp_path / "journal"
    program = IN_MEMORY.format(journal=str(journal))
    environment = install(tmp_path, ["-c", program])
    configure('resource "stoneware_machine" "m" {\n  name   = "m1"\n  source = IMAGE\n}')
    with Terraform(tmp_path, binary=binary, environment=environment) as terraform:
        assert terraform.apply().added == 1
        assert terraform.plan().noop
        assert terraform.destroy().removed == 1


def test_its_schema_can_be_read_without_a_store(tmp_path: Path, binary: Path, configure: Configure) -> None:
    environment = install(tmp_path, ["-m", "stoneware.cli.provider"])
    configure('resource "stoneware_machine" "m" {\n  name   = "m1"\n  source = IMAGE\n}')
    done = subprocess.run(
        [binary, "providers", "schema", "-json"],
        cwd=tmp_path,
        env={
            **os.environ,
            **environment,
            "STONEWARE_HOME": str(tmp_path / "none"),
            "CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    schema = json.loads(done.stdout)["provider_schemas"][SOURCE]
    machine = schema["resource_schemas"]["stoneware_machine"]["block"]
    assert all(attribute["description"] for attribute in machine["attributes"].values())
    assert machine["attributes"]["metadata"]["sensitive"] is True
    ports = machine["attributes"]["ports"]["nested_type"]
    assert (ports["nesting_mode"], ports["attributes"]["machine_port"]["required"]) == ("list", True)
    assert set(schema["data_source_schemas"]) == {"stoneware_image", "stoneware_machine"}
    assert set(schema["resource_schemas"]) == {
        f"stoneware_{name}" for name in ("image", "machine", "network", "volume")
    }
    assert not (tmp_path / "none").exists()


def test_started_by_hand_it_says_what_it_is() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_PLUGIN_MAGIC_COOKIE"}
    done = subprocess.run(
        [sys.executable, "-m", "stoneware.cli.provider"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "stoneware terraform install" in done.stderr


def test_programs_fail_also_where_terraform_was_told_to_ignore_the_ends_of_children() -> None:
    code = """
import signal, subprocess, sys
from stoneware.cli import provider
from stoneware.provider import plugin
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
plugin.serve = lambda _: sys.exit(subprocess.run(["false"]).returncode)
provider.main()
"""
    environment = {**os.environ, "TF_PLUGIN_MAGIC_COOKIE": "set"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 1


def test_the_package_installs_it() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["terraform-provider-stoneware"] == "stoneware.cli.provider:main"


INTERRUPTED = """
import sys, threading
from pathlib import Path
from stoneware.provider.plugin import serve
from stoneware.provider.provider import StonewareProvider
from tests.platforms.memory import MemoryPlatform
platform = MemoryPlatform(Path({journal!r}))
provider = StonewareProvider(lambda: platform)
def creating():
    Path({mark!r}).touch()
    provider.stopping.wait()
platform.while_creating = creating
serve(provider)
"""


def test_a_creation_is_finished_when_terraform_is_interrupted(
    tmp_path: Path, configure: Configure, binary: Path
) -> None:
    """As by Ctrl-C on a terminal, which goes to Terraform and to the provider."""
    journal, mark = tmp_path / "journal", tmp_path / "creating"
    program = INTERRUPTED.format(journal=str(journal), mark=str(mark))
    environment = {**os.environ, **install(tmp_path, ["-c", program]), "CHECKPOINT_DISABLE": "1"}
    configure('resource "stoneware_machine" "m" {\n  name   = "m1"\n  source = IMAGE\n}')
    process = subprocess.Popen(
        [binary, "apply", "-auto-approve", "-no-color", "-input=false"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    deadline = time.monotonic() + 300
    while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert mark.exists(), output
    assert [made.name for made in MemoryPlatform(journal).machines()] == ["m1"]
    assert managed_addresses(tmp_path) == {"stoneware_machine.m"}, output


def test_a_provider_ends_when_terraform_is_killed(tmp_path: Path, configure: Configure, binary: Path) -> None:
    journal, mark = tmp_path / "journal", tmp_path / "creating"
    program = INTERRUPTED.format(journal=str(journal), mark=str(mark))
    program = program.replace(".touch()", ".write_text(str(__import__('os').getpid()))")
    environment = {**os.environ, **install(tmp_path, ["-c", program]), "CHECKPOINT_DISABLE": "1"}
    configure('resource "stoneware_machine" "m" {\n  name   = "m1"\n  source = IMAGE\n}')
    process = subprocess.Popen(
        [binary, "apply", "-auto-approve", "-input=false"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    provider = int(mark.read_text())
    process.kill()
    process.wait()
    assert until_gone(provider)
