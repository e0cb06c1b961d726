"""What a builder is made with: Terraform and the machine's records carry little of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stoneware.provider import builders
from stoneware.provider.builders import StonewareBuilder

pytestmark = pytest.mark.pure


class _Terraform:
    """Takes what the builder's variables would be."""

    def __init__(self, *_: object) -> None:
        self.variables: dict[str, Any] = {}

    def apply(self, variables: Mapping[str, Any]) -> None:
        self.variables = dict(variables)


class _Platform:
    infrastructure = None


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StonewareBuilder:
    monkeypatch.setattr(builders, "BuilderTerraform", _Terraform)
    return StonewareBuilder(_Platform(), "bake-1-0", tmp_path)  # type: ignore[arg-type]


def _variables(builder: StonewareBuilder) -> dict[str, Any]:
    terraform: Any = builder._terraform
    found: dict[str, Any] = terraform.variables
    return found


def test_the_agent_is_a_file_that_a_short_script_fetches(builder: StonewareBuilder, tmp_path: Path) -> None:
    agent = "#!/bin/sh\n" + "# a long agent\n" * 8000
    builder.publish(tmp_path / "bundle.tar", {"secret": tmp_path / "value"})
    builder.boot("image:x", {"startup-script": agent, "stoneware-mode": "build"})
    made = _variables(builder)
    assert made["files"] == {
        "bundle.tar": str(tmp_path / "bundle.tar"),
        "secret": str(tmp_path / "value"),
        "agent": str(tmp_path / "agent"),
    }
    assert (tmp_path / "agent").read_text() == agent
    assert made["metadata"]["stoneware-mode"] == "build"
    script = made["metadata"]["startup-script"]
    assert len(script) < 1000  # for the whole agent has a hundred thousand
    assert script.startswith("#!/bin/sh\n")
    assert "http://169.254.169.254/stoneware/v1/files/agent" in script


def test_a_builder_without_a_script_is_made_as_wanted(builder: StonewareBuilder, tmp_path: Path) -> None:
    builder.publish(tmp_path / "bundle.tar", {})
    builder.boot("image:x", {"stoneware-mode": "build"})
    made = _variables(builder)
    assert set(made["files"]) == {"bundle.tar"}
    assert made["metadata"] == {"stoneware-mode": "build"}
