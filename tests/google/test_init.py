"""`terraform init` finds the provider in its mirror, as people's own Terraform finds the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.terraform.runner import Terraform
from tests.google.cloud import PROJECT, Cloud
from tests.google.provider.install import initialized

pytestmark = pytest.mark.tool

TEXT = """
data "google_client_config" "c" {}

resource "google_compute_disk" "d" {
  name = "${data.google_client_config.c.project}-d"
}
"""


def test_it_is_installed_from_the_mirror(tmp_path: Path, cloud: Cloud, google_mirror: dict[str, str]) -> None:
    initialized(tmp_path, cloud.endpoint, TEXT, google_mirror)
    with Terraform(tmp_path, environment=google_mirror) as terraform:
        applied = terraform.apply()
        assert (applied.added, applied.warnings) == (1, ())
        assert list(cloud.of("disks")) == [f"{PROJECT}-d"]
        plan = terraform.plan()
        assert (plan.noop, plan.warnings) == (True, ())
        assert terraform.destroy().removed == 1
