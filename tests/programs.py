"""Programs of others that tests run where this computer has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

needs_gcloud = pytest.mark.skipif(shutil.which("gcloud") is None, reason="no gcloud on this computer")


def terraform() -> Path | None:
    """Return Terraform or OpenTofu, None where there is neither."""
    found = shutil.which("terraform") or shutil.which("tofu")
    return Path(found) if found else None


def terraform_or_skip() -> Path:
    """Return Terraform or OpenTofu; without them the test is skipped."""
    found = terraform()
    if found is None:
        pytest.skip("no terraform or tofu executable on this computer")
    return found


def run(
    *argv: str | Path,
    environment: Mapping[str, str],
    directory: Path | None = None,
    stdin: str = "",
    code: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Run a program, which has to end with `code`."""
    done = subprocess.run(
        argv,
        cwd=directory,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def gcloud_environment(directory: Path, project: str, **endpoints: str) -> dict[str, str]:
    """Return an environment in which gcloud knows nobody and asks `endpoints`, by the names of their APIs."""
    overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": url for api, url in endpoints.items()}
    return {
        **os.environ,
        "CLOUDSDK_CONFIG": str(directory / "config"),
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        **overrides,
    }
