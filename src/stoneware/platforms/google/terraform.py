"""The variables that Terraform, and hashicorp/google that it starts, need of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from stoneware.errors import InputError
from stoneware.files import write_atomic
from stoneware.platforms.google.settings import Settings

PROVIDER = "STONEWARE_GOOGLE_PROVIDER"  # the path of a provider's program, instead of the registry's
# What finds credentials, the network, and providers: as the user has it.
_PASSED = (
    *("HOME", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN"),
    *("GOOGLE_IMPERSONATE_SERVICE_ACCOUNT", "CLOUDSDK_CONFIG", "GOOGLE_USE_DEFAULT_CREDENTIALS"),
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR"),
)
_ENDPOINTS = {
    "GOOGLE_COMPUTE_CUSTOM_ENDPOINT": "/compute/v1/",
    "GOOGLE_DNS_CUSTOM_ENDPOINT": "/dns/v1/",
    "GOOGLE_STORAGE_CUSTOM_ENDPOINT": "/storage/v1/",
    "GOOGLE_SECRET_MANAGER_CUSTOM_ENDPOINT": "/v1/",
}


def poll_interval(settings: Settings) -> str:
    """Return how often the provider is to look whether an operation is done; its own default is 10 s."""
    return "100ms" if settings.endpoint else "2s"


def terraform_environment(
    settings: Settings, home: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables. `home` keeps the provider, of 130 MB, once for all clusters and bakes."""
    given = os.environ if environment is None else environment
    passed = {name: given[name] for name in _PASSED if given.get(name)}
    found = {"GOOGLE_PROJECT": settings.project, "GOOGLE_REGION": settings.region, **passed}
    if "TF_PLUGIN_CACHE_DIR" not in found:
        cache = home / "terraform-providers"
        cache.mkdir(parents=True, exist_ok=True)
        found["TF_PLUGIN_CACHE_DIR"] = str(cache)
    # Without a file of the user's, what is in their home counts: mirrors, for one.
    found.setdefault("TF_CLI_CONFIG_FILE", "")
    if program := given.get(PROVIDER):
        found["TF_CLI_CONFIG_FILE"] = str(_override(Path(program), home))
    if settings.endpoint:
        # An emulator takes any token; with a universe of its own the provider asks nobody who we are.
        found["GOOGLE_OAUTH_ACCESS_TOKEN"] = "emulator"  # noqa: S105
        found["GOOGLE_UNIVERSE_DOMAIN"] = "emulator.invalid"
        found |= {name: f"{settings.endpoint}{path}" for name, path in _ENDPOINTS.items()}
    return found


def _override(program: Path, home: Path) -> Path:
    """Write the file by which Terraform starts a provider of the user's, and return its path."""
    if not program.exists():
        raise InputError(
            f"there is no provider {program}",
            details=f"{PROVIDER} names it: the program, or the directory that it is in.",
            resolution=f"unset {PROVIDER}    # takes hashicorp/google of the registry",
        )
    directory = (program if program.is_dir() else program.parent).resolve()
    # Terraform starts what an override names without init, and without a checksum of the registry's.
    override = f"{json.dumps('hashicorp/google')} = {json.dumps(str(directory))}"
    file = home / "terraform.rc"
    home.mkdir(parents=True, exist_ok=True)
    text = f"provider_installation {{\n  dev_overrides {{\n    {override}\n  }}\n  direct {{}}\n}}\n"
    write_atomic(file, text.encode())
    return file
