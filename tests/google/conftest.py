from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.google.cloud import Cloud, served
from tests.google.provider.install import installed


@pytest.fixture(scope="session")
def google_provider(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables with which Terraform finds a provider hashicorp/google, without `init` too.

    It is the stand-in, or the real one that STONEWARE_GOOGLE_PROVIDER names.
    """
    return installed(tmp_path_factory.mktemp("google"))


@pytest.fixture(scope="session")
def google_mirror(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the same for configurations on which `terraform init` is run: there is no warning then."""
    return installed(tmp_path_factory.mktemp("google"), override=False)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Serve an emulator whose instances are machines in memory."""
    with served(tmp_path / "emulator") as made:
        yield made
