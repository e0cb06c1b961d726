"""What Google has refused, as hashicorp/google words it: what is lacking, and what to do next."""

from __future__ import annotations

import pytest

from stoneware.platforms.google.terraform_errors import refusal

pytestmark = pytest.mark.pure
AT = '(with google_compute_instance.machine["k-1"] at machines.tf:4)'
DENIED = (
    "Required 'compute.instances.create' permission for 'projects/proj-1/zones/z/instances/k-1', forbidden"
)
DISABLED = (
    "Compute Engine API has not been used in project 12 before or it is disabled: compute.googleapis.com"
)
NEWER = """googleapi: Error 403: Cloud DNS API has not been used in project 12 before or it is disabled.
Details:
[
  {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "SERVICE_DISABLED",
    "metadata": {"service": "dns.googleapis.com"}
  }
]
"""


@pytest.mark.parametrize(
    ("said", "why", "resolution", "code"),
    [
        (
            "Error waiting for instance to create: Quota 'CPUS' exceeded.  Limit: 24.0 in region r.",
            "the quota of the project is used up",
            "gcloud compute project-info describe --project proj-1",
            1,
        ),
        (
            "The zone 'projects/proj-1/zones/z' does not have enough resources available to fulfill it.",
            "the zone has no room for it now",
            "try again later, or name other zones",
            1,
        ),
        (
            f"Error creating instance: googleapi: Error 403: {DENIED}",
            "the permission compute.instances.create is missing",
            "gcloud projects get-iam-policy proj-1",
            3,
        ),
        (
            f"Error creating Address: googleapi: Error 403: {DISABLED}, accessNotConfigured",
            "the API compute.googleapis.com is not enabled in the project proj-1",
            "gcloud services enable compute.googleapis.com --project proj-1",
            3,
        ),
        (NEWER, "the API dns.googleapis.com is not", "gcloud services enable dns.googleapis.com", 3),
        (
            "Error creating Disk: googleapi: Error 409: The resource 'd' already exists, alreadyExists",
            "there is one already",
            "take another name",
            1,
        ),
        (
            "Error: googleapi: Error 401: Request had invalid authentication credentials., authError",
            "Google does not know who asks",
            "gcloud auth application-default login",
            3,
        ),
        (
            "Attempted to load application default credentials […]: could not find default credentials.",
            "Google does not know who asks",
            "gcloud auth application-default login",
            3,
        ),
        (
            'oauth2: "invalid_grant" "Token must be in a reasonable timeframe"',
            "the clock of this computer differs from Google's",
            "timedatectl set-ntp true",
            3,
        ),
        ("googleapi: got HTTP response code 503 with body: <html>", "Google's servers are busy", "try", 1),
    ],
)
def test_what_is_lacking_is_told(said: str, why: str, resolution: str, code: int) -> None:
    found = refusal(f"{said}\n{AT}", "proj-1")
    assert found is not None
    assert found.brief.startswith(f"cannot do what was planned: {why}")
    assert found.resolution.startswith(resolution)
    assert found.exit_code == code


@pytest.mark.parametrize(
    "said", ["", "timeout while waiting for state", "Invalid index", "googleapi: Error x"]
)
def test_other_words_are_terraforms_own(said: str) -> None:
    assert refusal(said, "proj-1") is None
