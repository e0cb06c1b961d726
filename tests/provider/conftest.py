"""Terraform on a directory of a test's own, with the provider over machines in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.provider.server import ProviderServer
from stoneware.terraform.runner import Terraform
from tests import programs
from tests.platforms.memory import MemoryPlatform

HEAD = """
terraform {
  required_providers {
    stoneware = {
      source = "stoneware.local/stoneware/stoneware"
    }
  }
}
"""
IMAGE = "image:sha256:" + "ab" * 32

Configure = Callable[[str], None]


@pytest.fixture
def platform() -> MemoryPlatform:
    """Two networks and a secret are there, as if made elsewhere."""
    made = MemoryPlatform()
    made.create_network("front", {})
    made.create_network("back", {})
    made.put_secret("c-token", b"hunter2")
    return made


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Replace the configuration by the given resources; IMAGE stands for an image."""

    def write(text: str) -> None:
        (tmp_path / "main.tf").write_text(HEAD + text.replace("IMAGE", f'"{IMAGE}"'))

    return write


@pytest.fixture
def terraform(
    tmp_path: Path, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terraform]:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    with Terraform(tmp_path, provider=ProviderServer(platform)) as running:
        yield running


@pytest.fixture
def binary() -> Path:
    return programs.terraform_or_skip()
