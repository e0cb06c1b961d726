"""What the platform google is told: the table [google] of stoneware.toml, and STONEWARE_GOOGLE_*."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, field, fields
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.platforms.project_file import NAME, ProjectFile, instead

TABLE = "google"
_PREFIX = "STONEWARE_GOOGLE_"
_RFC1035 = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
# Old projects have a domain in front: example.com:project.
_PROJECT = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
_URL = re.compile(r"https?://[^/\s?#]+")


@dataclass(frozen=True)
class _Rule:
    """What a text may be, in a pattern and in words, and one that is right."""

    pattern: str
    words: str
    example: str


_RULES = {
    "project": _Rule(_PROJECT, "6 to 30 lowercase letters, digits and -, a letter first", "my-project"),
    "region": _Rule(r"[a-z]+-[a-z]+[0-9]+", "a region", "europe-west1"),
    "zones": _Rule(r"[a-z]+-[a-z]+[0-9]+-[a-z]", "a zone", "europe-west1-b"),
    "network": _Rule(rf"(?:projects/{_PROJECT}/global/networks/)?{_RFC1035}", "a network", "default"),
    "subnetwork": _Rule(
        rf"(?:projects/{_PROJECT}/regions/[a-z0-9-]+/subnetworks/)?{_RFC1035}", "a subnetwork", "default"
    ),
    "bucket": _Rule(
        r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", "a bucket's name, without gs://", "my-project-stoneware"
    ),
    "machine_type": _Rule(r"[a-z][a-z0-9-]{0,62}", "a machine type", "e2-standard-2"),
    "service_account": _Rule(
        r"[^@\s]+@[a-z0-9.-]+\.[a-z]+",
        "a service account's e-mail",
        "bake@my-project.iam.gserviceaccount.com",
    ),
    "kms_key": _Rule(
        r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
        "a key of Cloud KMS",
        "projects/P/locations/L/keyRings/R/cryptoKeys/K",
    ),
}


# Where Terraform's provider and gcloud look as well, the first that is set.
_USUAL = {
    "project": ("GOOGLE_CLOUD_PROJECT", "GOOGLE_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "region": ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
}


@dataclass(frozen=True)
class Settings:
    """Where on Google Cloud machines are made, and how. `zones` empty: all of the region."""

    project: str
    region: str
    bucket: str
    zones: tuple[str, ...] = ()
    network: str = "default"
    subnetwork: str = ""
    machine_type: str = "e2-standard-2"
    service_account: str = ""  # of builders and machines; empty: none
    external_ip: bool = False
    kms_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""  # of an emulator, as this computer reaches it: http://127.0.0.1:8089
    guest_endpoint: str = ""  # the same as an instance reaches it
    machine_type_place: str = field(default="", compare=False)  # where it is said, if it is

    def to_document(self) -> dict[str, Any]:
        """Return them as JSON data, for commands that come later."""
        return asdict(self) | {"zones": list(self.zones), "labels": dict(self.labels)}


_TABLE_KEYS = tuple(each.name for each in fields(Settings) if not each.name.endswith(("endpoint", "_place")))
_REQUIRED = tuple(
    each.name for each in fields(Settings) if each.default is MISSING and each.default_factory is MISSING
)


def from_document(document: Mapping[str, Any]) -> Settings:
    """Return what `to_document` wrote. Raises TypeError and ValueError."""
    known = {each.name for each in fields(Settings)}
    given = {key: value for key, value in document.items() if key in known}
    return Settings(**given | {"zones": tuple(given["zones"]), "labels": dict(given["labels"])})


def read_settings(file: ProjectFile, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a file and of variables, which come before it.

    Raises InputError with the place of what is wrong or not there.
    """
    values = _of_file(file) | _of_environment(environment)
    values |= _usual(environment, values)
    for key in _REQUIRED:
        if not values.get(key):
            raise _missing(key, file)
    said = "machine_type" in values
    place = _place(file, environment, "machine_type") if said else ""
    settings = Settings(**values, machine_type_place=place)
    # Addresses and subnetworks are of one region: machines of another could have none of them.
    for zone in settings.zones:
        if not zone.startswith(f"{settings.region}-"):
            raise InputError(
                f"the zone {zone} is not in the region {settings.region}",
                resolution=f'zones = ["{settings.region}-b"], or another region',
                location=_place(file, environment, "zones"),
            )
    return settings


def _usual(environment: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not given and stands in a variable of other programs."""
    found = {key: next(filter(environment.get, _USUAL[key]), "") for key in _USUAL.keys() - given.keys()}
    return {key: _checked(key, environment[name], name) for key, name in found.items() if name}


def _of_file(file: ProjectFile) -> dict[str, Any]:
    table = file.table(TABLE)
    for key in table:
        if key not in _TABLE_KEYS:
            raise InputError(
                f"[{TABLE}] has no key {key!r}",
                details=f"The keys are {', '.join(_TABLE_KEYS)}.",
                resolution=instead(key, _TABLE_KEYS) or "take it out",
                location=file.place(key, TABLE),
            )
    return {key: _checked(key, value, file.place(key, TABLE)) for key, value in table.items()}


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in sorted(environment):
        if not name.startswith(_PREFIX) or not environment[name]:
            continue
        key = name.removeprefix(_PREFIX).lower()
        if key.endswith("endpoint"):
            values[key] = _url(name, environment[name])
        elif key in _TABLE_KEYS:
            values[key] = _checked(key, _read_variable(key, environment[name]), name)
        elif key != "provider":  # STONEWARE_GOOGLE_PROVIDER: a program, for Terraform
            raise InputError(
                f"there is no setting {name}",
                details=f"The variables are {', '.join(_PREFIX + key.upper() for key in _TABLE_KEYS)}.",
                resolution=f"unset {name}",
            )
    return values


def _read_variable(key: str, text: str) -> Any:
    """Return the value of a variable as TOML would have it; what is not one is left as text."""
    if key == "external_ip":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if key == "zones":
        return [word.strip() for word in text.split(",") if word.strip()]
    if key == "labels":
        pairs = [word.strip().partition("=") for word in text.split(",") if word.strip()]
        return {name: value for name, sign, value in pairs} if all(sign for _, sign, _ in pairs) else text
    return text


def _url(name: str, text: str) -> str:
    url = text.rstrip("/")
    if not _URL.fullmatch(url):
        raise InputError(
            f"{name} is {text!r}, which is no address of a server",
            resolution=f"{name}=http://127.0.0.1:8089    # stoneware emulate google prints it",
        )
    return url


def _checked(key: str, value: Any, location: str) -> Any:
    checked = _value(key, value)
    if checked is None:
        words, example = _wanted(key)
        raise InputError(
            f"{key} is {value!r}; it has to be {words}",
            resolution=f"{key} = {example}    # in [{TABLE}] of {NAME}",
            location=location,
        )
    return checked


def _value(key: str, value: Any) -> Any:
    """Return the value that a setting has by what is written, or None where that is none."""
    match key:
        case "external_ip":
            return value if isinstance(value, bool) else None
        case "zones":
            return _zones(value)
        case "labels":
            return _labels(value)
        case _:
            return _text(key, value)


def _wanted(key: str) -> tuple[str, str]:
    """Return in words what a setting has to be, and one as TOML has it."""
    match key:
        case "external_ip":
            return "true or false", "true"
        case "labels":
            return "labels of Google Cloud: lowercase letters, digits, _ and -", '{ team = "data" }'
        case "zones":
            return "a list of zones", f'["{_RULES[key].example}"]'
        case _:
            return _RULES[key].words, f'"{_RULES[key].example}"'


def _text(key: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return value if re.fullmatch(_RULES[key].pattern, value) else None


def _zones(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    return tuple(value) if all(_text("zones", zone) for zone in value) else None


def _labels(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    right = all(
        _LABEL_KEY.fullmatch(name) and isinstance(text, str) and _LABEL_VALUE.fullmatch(text)
        for name, text in value.items()
    )
    return dict(value) if right else None


def _place(file: ProjectFile, environment: Mapping[str, str], key: str) -> str:
    name = f"{_PREFIX}{key.upper()}"
    return name if environment.get(name) else file.place(key, TABLE)


def _missing(key: str, file: ProjectFile) -> InputError:
    place = str(file.path) if file.path else f"{NAME}, in this directory or above it"
    usual = f", {_USUAL[key][0]}" if key in _USUAL else ""
    return InputError(
        f"the platform google needs a {key}",
        details=f"Neither {_PREFIX}{key.upper()}{usual} nor {place} says one.",
        resolution=f'[google]\n{key} = "{_RULES[key].example}"    # in {NAME}',
        location=str(file.path) if file.path else "",
    )
