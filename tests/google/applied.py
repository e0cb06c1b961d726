"""A configuration that is applied to an emulator, and what Terraform asks of it when a variable changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoneware.terraform.results import Plan, TerraformError
from stoneware.terraform.runner import Terraform
from tests.google.cloud import Cloud, Request, served
from tests.google.provider.install import configuration


@dataclass
class Applied:
    """A configuration and its emulator."""

    cloud: Cloud
    terraform: Terraform

    def vary(self, **variables: Any) -> None:
        """Give variables; all others have their defaults."""
        (self.terraform.directory / "terraform.tfvars.json").write_text(json.dumps(variables))

    def reset(self) -> None:
        """Have everything as the configuration alone says, and forget the requests so far."""
        self.cloud.fail()
        self.vary()
        self.terraform.apply()
        self.cloud.take()

    def change(self, **variables: Any) -> Plan:
        """Plan other variables, and forget the requests so far."""
        self.vary(**variables)
        plan = self.terraform.plan()
        self.cloud.take()
        return plan

    def apply(self, plan: Plan) -> list[Request]:
        """Apply a plan and return the requests. Nothing is to be done after it."""
        self.terraform.apply(plan)
        asked = self.cloud.take()
        assert what(self.terraform.plan()) == {}
        return asked


def what(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return what a plan does, by address."""
    return {each.address: each.actions for each in plan.changes if not each.noop}


@contextmanager
def refused() -> Iterator[list[str]]:
    """Expect that Terraform fails, and collect what its errors say."""
    said: list[str] = []
    with pytest.raises(TerraformError) as caught:
        yield said
    said += [each.summary for each in caught.value.diagnostics if each.severity == "error"]


@contextmanager
def opened(home: Path, text: str, environment: dict[str, str]) -> Iterator[Applied]:
    """Open a configuration below a directory, with an emulator of its own."""
    directory = home / "terraform"
    directory.mkdir()
    with served(home / "emulator") as cloud, Terraform(directory, environment=environment) as terraform:
        (directory / "main.tf").write_text(configuration(cloud.endpoint) + text)
        yield Applied(cloud, terraform)
