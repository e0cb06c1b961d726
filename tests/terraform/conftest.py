"""The two ways to run Terraform, each on a directory of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stoneware.terraform.runner import Terraform
from tests import programs

Open = Callable[..., Terraform]


@pytest.fixture(params=["library", "binary"])
def open_terraform(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Return a function that opens Terraform on `tmp_path`, closed at the end of the test."""
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    binary = programs.terraform_or_skip() if request.param == "binary" else None
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(Terraform(tmp_path, binary=binary, **options))
