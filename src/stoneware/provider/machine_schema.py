"""The attributes of `stoneware_machine`, resource and data source."""

from __future__ import annotations

from typing import Any

from stoneware.model import field_types
from stoneware.model.field_types import REQUIRED
from stoneware.model.machine_fields import FIELDS, Field
from stoneware.provider.schema import Schema
from stoneware.provider.values import (
    Attribute,
    Bool,
    List,
    Map,
    Number,
    Object,
    Objects,
    String,
    Type,
    Unknown,
)

VERSION = 2
TEXTS = ("id", "image_id", "ip", "phase", "health")

# Attributes that no machine has, with a default.
_OWN: dict[str, Any] = {"optional": True, "computed": True}
_TYPES: dict[str, type[Type]] = {"string": String, "number": Number, "bool": Bool}
_TIMEOUT_FIELDS = (
    Attribute("create", String(), "For `wait_for` after the creation (10 minutes).", optional=True),
    Attribute("update", String(), "For `wait_for` after a start (10 minutes).", optional=True),
    Attribute("delete", String(), "For the orderly stop before the removal.", optional=True),
)


def resource_schema() -> Schema:
    """Return the schema of the resource."""
    fields = [field for field in FIELDS.values() if field.in_terraform]
    in_place = ["config", *(field.name for field in fields if field.in_place), "running"]
    return Schema(
        version=VERSION,
        description=(
            "A machine of the local engine. It runs on when Terraform has ended. "
            f"{', '.join(f'`{name}`' for name in in_place[:-1])} and `{in_place[-1]}` are changed in place; "
            "everything else makes a new machine. Removing one stops it in order first. Import by name."
        ),
        attributes=[*map(_attribute, fields), *_conduct(), *_computed()],
    )


def _attribute(field: Field) -> Attribute:
    """Return the attribute of a field of a machine: what cannot be changed in place takes another machine."""
    usual = isinstance(field.default, (bool, int, float, str))  # no list, map or null has to be planned
    return Attribute(
        field.name,
        _type(field.kind.type),
        field.about,
        required=field.default is REQUIRED,
        optional=field.default is not REQUIRED,
        computed=usual,
        sensitive=field.sensitive,
        requires_replace=not field.in_place,
        default=_plain(field.default) if usual else Unknown,
    )


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _type(type_: field_types.Type) -> Type:
    """Return a field's type as the provider has it."""
    if type_.parts:
        parts = [_part(part) for part in type_.parts]
        return Objects(parts) if type_.form == "list" else Object(parts)
    base = _TYPES[type_.base]()
    return {"list": List, "map": Map}[type_.form](base) if type_.form in ("list", "map") else base


def _part(part: field_types.Part) -> Attribute:
    required = part.default is REQUIRED
    return Attribute(part.name, _type(part.type), part.about, required=required, optional=not required)


def _conduct() -> list[Attribute]:
    about_config = (
        "Runtime config by variable, checked against the image's contract; it becomes the instance attribute "
        "`stoneware-config`, and those go with it that start the service and let the machine report."
    )
    about_recreate = "Any text; another one makes a new machine. To say it for the first time does not."
    about_wait = "`running` or `healthy`: how far its creation or start is waited for; not at all if empty."
    about_timeouts = 'How long things may take, such as `"90s"` or `"5m"`.'
    return [
        Attribute("config", Map(String()), about_config, optional=True, sensitive=True),
        Attribute("running", Bool(), "Whether it runs; `false` stops it.", default=True, **_OWN),
        Attribute("recreate_on", String(), about_recreate, optional=True, requires_replace=True),
        Attribute("wait_for", String(), about_wait, default="", **_OWN),
        Attribute("timeouts", Object(_TIMEOUT_FIELDS), about_timeouts, optional=True),
    ]


def data_schema() -> Schema:
    """Return the schema of the data source."""
    about_metadata = "Instance attributes that its metadata server hands out."
    about_guest = "What the machine reported about itself, by `namespace/key`."
    return Schema(
        description="A machine that exists, created by Terraform or not.",
        attributes=[
            Attribute("name", String(), "Its name.", required=True),
            *_computed(),
            Attribute("kind", String(), "`machine` or `builder`.", computed=True),
            Attribute("source", String(), "What it was booted from.", computed=True),
            Attribute("image", String(), "The image as people called it.", computed=True),
            Attribute("hostname", String(), "Its host name.", computed=True),
            Attribute("networks", List(String()), "Networks it is on.", computed=True),
            Attribute("labels", Map(String()), "Labels on the machine.", computed=True),
            Attribute("metadata", Map(String()), about_metadata, computed=True, sensitive=True),
            Attribute("guest_attributes", Map(String()), about_guest, computed=True),
            Attribute("config_digest", String(), "Digest of the config it took on.", computed=True),
            Attribute("running", Bool(), "Whether it runs.", computed=True),
            Attribute("error", String(), "What is wrong with it; empty if nothing.", computed=True),
            Attribute("created", String(), "When it was created (RFC 3339).", computed=True),
        ],
    )


def _computed() -> list[Attribute]:
    about = {
        "id": "The engine's own id; a replaced machine has another one.",
        "image_id": "The image it booted from.",
        "ip": "Its address in its networks.",
        "phase": "created, booting, configuring, running, failed, stopping or stopped.",
        "health": "none, starting, healthy or unhealthy.",
    }
    about_published = "Ports as they are published, the free ones filled in; none while it is stopped."
    fields = [
        Attribute(part.name, _type(part.type), part.about, computed=True) for part in field_types.PORTS.parts
    ]
    return [
        *(Attribute(name, String(), about[name], computed=True) for name in TEXTS),
        Attribute("published", Objects(fields), about_published, computed=True),
    ]
