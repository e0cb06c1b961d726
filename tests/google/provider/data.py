"""Data sources: what is read and belongs to nobody."""

from __future__ import annotations

from collections.abc import Callable

from tests.google.provider import dns
from tests.google.provider.client import ApiError, Client
from tests.google.provider.documents import Document, Field, read
from tests.google.provider.kinds import Int64
from tests.google.provider.schema import Values, schemas

_IMAGE = {
    "archive_size_bytes": Field(kind=Int64()),
    "disk_size_gb": Field(kind=Int64()),
    "image_id": Field("id"),
    "filter": Field(path=None),
    "most_recent": Field(path=None),
    "image_encryption_key_sha256": Field("imageEncryptionKey.sha256"),
    "source_disk_encryption_key_sha256": Field("sourceDiskEncryptionKey.sha256"),
}


def _compute(client: Client, config: Values, rest: str) -> str:
    project = config.get("project") or client.settings.project
    return f"{client.settings.endpoint('compute')}projects/{project}/{rest}"


def image(client: Client, config: Values) -> Values:
    """Read an image by its name, its family, or a filter."""
    found = _image(client, config)
    values = read(schemas("data_source_schemas")["google_compute_image"].block, _IMAGE, found, config)
    project = config.get("project") or client.settings.project
    labels = found.get("labels", {})
    return values | {
        "id": f"projects/{project}/global/images/{found['name']}",
        "project": project,
        "labels": labels,
    }


def _image(client: Client, config: Values) -> Document:
    if config["name"]:
        return client.get(_compute(client, config, f"global/images/{config['name']}"))
    if config["family"]:
        return client.get(_compute(client, config, f"global/images/family/{config['family']}"))
    if not config["filter"]:
        raise ApiError(None, "one of name, family or filter must be set")
    found = client.get(_compute(client, config, "global/images"), filter=config["filter"]).get("items", [])
    if config["most_recent"]:
        found.sort(key=lambda each: each["creationTimestamp"], reverse=True)
    if not found or (len(found) > 1 and not config["most_recent"]):
        raise ApiError(None, f"your filter has returned {len(found)} images, and one is wanted")
    return dict(found[0])


def _instance(client: Client, config: Values, name: str) -> tuple[str, Values]:
    """Return the URL of an instance, and where it is."""
    zone = config.get("zone") or client.settings.zone
    where = {"project": config.get("project") or client.settings.project, "zone": zone}
    return _compute(client, config, f"zones/{zone}/instances/{name}"), where


def guest_attributes(client: Client, config: Values) -> Values:
    """Read what an instance says of itself; there may be nothing yet."""
    url, where = _instance(client, config, config["name"])
    client.get(url)
    names = {"query_path": "queryPath", "variable_key": "variableKey"}
    query = {names[name]: config[name] for name in names if config[name]}
    try:
        found = client.get(f"{url}/getGuestAttributes", **query)
    except ApiError as error:
        if error.status != 404:
            raise
        found = {}
    items = found.get("queryValue", {}).get("items")
    return (
        config
        | where
        | {
            "id": url.split("/v1/", 1)[1],
            "region": where["zone"].rsplit("-", 1)[0],
            "query_value": items,
            "variable_value": found.get("variableValue"),
        }
    )


def serial_port(client: Client, config: Values) -> Values:
    """Read what an instance has written to a serial port."""
    url, where = _instance(client, config, config["instance"])
    found = client.get(f"{url}/serialPort", port=str(config["port"]))
    return (
        config
        | where
        | {"id": url.split("/v1/", 1)[1] + "/serial-port", "contents": found.get("contents", "")}
    )


def client_config(client: Client, config: Values) -> Values:
    """Return what the provider's configuration says."""
    settings = client.settings
    names = ("access_token", "project", "region", "zone")
    labels = dict(settings.default_labels)
    found = {name: getattr(settings, name) for name in names}
    return found | {
        "default_labels": labels,
        "id": f"projects/{settings.project}/regions/{settings.region}/zones/{settings.zone}",
    }


READERS: dict[str, Callable[[Client, Values], Values]] = {
    "google_client_config": client_config,
    "google_compute_image": image,
    "google_compute_instance_guest_attributes": guest_attributes,
    "google_compute_instance_serial_port": serial_port,
    "google_dns_managed_zone": dns.zone,
}
