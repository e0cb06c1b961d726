"""The provider's own configuration: its block, and environment variables for what the block leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stoneware.provider.values import Unknown
from tests.google.provider.schema import Values

# The first that is set counts.
ENVIRONMENT = {
    "access_token": ("GOOGLE_OAUTH_ACCESS_TOKEN",),
    "project": ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "region": ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
    "zone": ("GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE"),
    "compute_custom_endpoint": ("GOOGLE_COMPUTE_CUSTOM_ENDPOINT",),
    "storage_custom_endpoint": ("GOOGLE_STORAGE_CUSTOM_ENDPOINT",),
    "dns_custom_endpoint": ("GOOGLE_DNS_CUSTOM_ENDPOINT",),
    "secret_manager_custom_endpoint": ("GOOGLE_SECRET_MANAGER_CUSTOM_ENDPOINT",),
}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_ENDPOINT = re.compile(r".*/[^/]+/$")


class SettingsError(Exception):
    """A configuration that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """What a provider block says."""

    project: str = ""
    region: str = ""
    zone: str = ""
    access_token: str = ""
    poll_interval: float = 10.0
    request_timeout: float = 120.0
    attributed: bool = True  # resources get a label that says that Terraform made them
    default_labels: Mapping[str, str] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def endpoint(self, service: str) -> str:
        """Return where a service is, with a slash at the end. Raises SettingsError where none is named."""
        found = self.endpoints.get(service)
        if not found:
            raise SettingsError(
                f"{service}_custom_endpoint is not set: this stand-in for hashicorp/google is for emulators"
            )
        return found


def settings(block: Values, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a provider block. Raises SettingsError."""
    given = {name: value for name, value in block.items() if value is not None and value is not Unknown}
    for name, variables in ENVIRONMENT.items():
        found = next((environment[each] for each in variables if environment.get(each)), None)
        if name not in given and found is not None:
            given[name] = found
    endpoints = {
        name.removesuffix("_custom_endpoint"): value
        for name, value in given.items()
        if name.endswith("_custom_endpoint")
    }
    for service, url in endpoints.items():
        if block.get(f"{service}_custom_endpoint") and not _ENDPOINT.match(url):
            raise SettingsError(
                f'"{service}_custom_endpoint" ({url}) does not end with a version and a slash'
            )
    if not given.get("access_token"):
        raise SettingsError("Attempted to load application default credentials: there is no access_token")
    return Settings(
        project=given.get("project", ""),
        region=given.get("region", ""),
        zone=given.get("zone", ""),
        access_token=given["access_token"],
        poll_interval=seconds(given.get("poll_interval", "10s")),
        request_timeout=seconds(given.get("request_timeout", "120s")),
        attributed=given.get("add_terraform_attribution_label", True),
        default_labels=given.get("default_labels", {}),
        endpoints=endpoints,
    )


def seconds(text: str) -> float:
    """Return the seconds of `1m30s`. Raises SettingsError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise SettingsError(f"time: invalid duration {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
