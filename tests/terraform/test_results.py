"""Reading Terraform's JSON and text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stoneware.errors import BuildError, HostError, InputError, MachineError
from stoneware.terraform.results import (
    SENSITIVE,
    Diagnostic,
    Progress,
    TerraformError,
    diagnostics,
    masked,
    parse_progress,
    parse_state,
    plain,
)

BOXED = """╷
│ Error: Cannot import non-existent remote object
│
│ While attempting to import, it was
│ not there.
╵

"""

MASKS: list[tuple[Any, Any, Any]] = [
    ("x", True, SENSITIVE),
    ("x", False, "x"),
    (None, True, None),
    ({"a": "x", "b": "y"}, {"a": True}, {"a": SENSITIVE, "b": "y"}),
    ({"a": [{"k": "x"}, {"k": "y"}]}, {"a": [{}, {"k": True}]}, {"a": [{"k": "x"}, {"k": SENSITIVE}]}),
    (["x", "y"], [True], [SENSITIVE, "y"]),
    ({"a": "x"}, {}, {"a": "x"}),
]


@pytest.mark.parametrize(("value", "sensitive", "expected"), MASKS)
def test_masking_follows_terraforms_marks(value: Any, sensitive: Any, expected: Any) -> None:
    assert masked(value, sensitive) == expected


def test_text_loses_its_box() -> None:
    assert plain(BOXED) == (
        "Error: Cannot import non-existent remote object\n\nWhile attempting to import, it was\nnot there."
    )
    assert diagnostics("", BOXED) == (
        Diagnostic(
            "error",
            "Cannot import non-existent remote object",
            "While attempting to import, it was\nnot there.",
        ),
    )


def test_no_diagnostics_where_nothing_was_said() -> None:
    assert diagnostics('{"type":"version","@message":"Terraform"}\nnot json\n', "") == ()


def test_a_state_with_modules() -> None:
    resource = {"address": "module.m.terraform_data.a", "type": "terraform_data", "values": {"id": "1"}}
    document = {"values": {"root_module": {"child_modules": [{"resources": [resource]}]}}}
    found = parse_state(document).get("module.m.terraform_data.a")
    assert found is not None
    assert found.values == {"id": "1"}
    assert parse_state({"format_version": "1.0"}).resources == ()


def test_one_error_of_the_provider_is_shown_as_it_was() -> None:
    cause = HostError("no systemd-nspawn", details="it is not installed", resolution="apt install it")
    error = TerraformError("apply", (Diagnostic("error", "no systemd-nspawn"),), (cause,))
    assert (error.brief, error.details, error.resolution) == (cause.brief, cause.details, cause.resolution)
    assert error.exit_code == 3
    assert error.causes == (cause,)
    assert isinstance(error, BuildError)


def test_several_errors_are_listed_and_warnings_left_out() -> None:
    found = (
        Diagnostic("error", "one", "first", "terraform_data.a", "input", "main.tf:3"),
        Diagnostic("warning", "beware"),
        Diagnostic("error", "two"),
    )
    error = TerraformError("apply the changes", found)
    assert error.brief == "Terraform could not apply the changes"
    assert error.details == "one (with terraform_data.a attribute input at main.tf:3)\nfirst\n\ntwo"
    assert (error.location, error.exit_code) == ("main.tf:3", 1)


LOCK = """Error message: resource temporarily unavailable
Lock Info:
  ID:        28881914-4f20
  Path:      terraform.tfstate
  Operation: OperationTypeApply
  Who:       root@vm
  Version:   1.11.4
  Created:   2026-11-23 15:16:35.656851728 +0000 UTC
  Info:


Terraform acquires a state lock to protect the state."""


def test_who_holds_a_lock_is_said() -> None:
    error = TerraformError("plan", (Diagnostic("error", "Error acquiring the state lock", LOCK),))
    assert error.brief == "another command is working on the same state"
    assert error.details == "terraform apply by root@vm, since 2026-11-23 15:16:35 UTC (lock 28881914-4f20)"


def test_several_errors_of_the_provider_are_kept() -> None:
    causes = (MachineError("m1 did not boot"), InputError("port 80 is in use"))
    found = tuple(
        Diagnostic("error", cause.brief, "", f"stoneware_machine.{n}") for n, cause in enumerate(causes)
    )
    error = TerraformError("apply the changes", found, causes)
    assert error.causes == causes
    assert error.details == (
        "m1 did not boot (with stoneware_machine.0)\n\nport 80 is in use (with stoneware_machine.1)"
    )
    assert error.exit_code == 1
    assert TerraformError("apply", found, (causes[1], causes[1])).exit_code == 2


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("apply_start", "started"),
        ("apply_progress", "going"),
        ("apply_complete", "done"),
        ("apply_errored", "failed"),
    ],
)
def test_progress_is_read_from_events(kind: str, status: str) -> None:
    hook = {"resource": {"addr": 'a.b["c"]'}, "action": "create", "elapsed_seconds": 10}
    line = json.dumps({"type": kind, "hook": hook})
    assert parse_progress(line) == Progress('a.b["c"]', "create", status, 10.0)


@pytest.mark.parametrize("line", ['{"type":"version"}', "Apply complete!", ""])
def test_other_lines_tell_no_progress(line: str) -> None:
    assert parse_progress(line) is None
