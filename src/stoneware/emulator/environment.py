"""The variables that point Google's clients at an emulator."""

from __future__ import annotations

from pathlib import Path

from stoneware.model.guest_protocol import GUEST_ENDPOINT

_REGION, _ZONE = "us-central1", "us-central1-a"


def variables(endpoint: str, project: str, credentials: Path) -> dict[str, str]:
    """Return the variables that Terraform's google provider, gcloud and the Python clients read.

    `credentials`: the key's file of a service account whose tokens the emulator issues.
    """
    # With the version and the last slash: without that, all URLs of Terraform's provider are wrong.
    compute, storage = f"{endpoint}/compute/v1/", f"{endpoint}/storage/v1/"
    return {
        "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
        "GOOGLE_CLOUD_PROJECT": project,
        "GOOGLE_PROJECT": project,
        "GOOGLE_REGION": _REGION,
        "GOOGLE_ZONE": _ZONE,
        # With a token at hand the provider asks no server for one.
        "GOOGLE_OAUTH_ACCESS_TOKEN": "emulator",
        "GOOGLE_COMPUTE_CUSTOM_ENDPOINT": compute,
        "GOOGLE_STORAGE_CUSTOM_ENDPOINT": storage,
        "GOOGLE_SECRET_MANAGER_CUSTOM_ENDPOINT": f"{endpoint}/v1/",
        "GOOGLE_DNS_CUSTOM_ENDPOINT": f"{endpoint}/dns/v1/",
        "GOOGLE_IAM_CREDENTIALS_CUSTOM_ENDPOINT": f"{endpoint}/v1/",
        # Of Python's client of Cloud Storage, and of Terraform's backend.
        "STORAGE_EMULATOR_HOST": endpoint,
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_COMPUTE_REGION": _REGION,
        "CLOUDSDK_COMPUTE_ZONE": _ZONE,
        # gcloud then sends no token, and asks for no login.
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": compute,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": storage,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"{endpoint}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_DNS": f"{endpoint}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": f"{endpoint}/",
        "CLOUDSDK_AUTH_TOKEN_HOST": f"{endpoint}/token",
        "STONEWARE_GOOGLE_ENDPOINT": endpoint,  # for the platform google
        "STONEWARE_GOOGLE_GUEST_ENDPOINT": GUEST_ENDPOINT,  # the same for each emulator, and after each start
    }
