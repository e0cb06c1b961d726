"""Zones and record sets of Cloud DNS: a record set is made, changed and removed by changes of its zone."""

from __future__ import annotations

from typing import ClassVar

from tests.google.provider.client import ApiError, Client
from tests.google.provider.compute import NEW
from tests.google.provider.documents import Document, Field, Table, known, read
from tests.google.provider.kinds import Int64, Link
from tests.google.provider.resource import Change, Resource
from tests.google.provider.schema import Values, schemas

_PLAIN = Field()


def _patch(zone: Resource, old: Values, new: Values) -> None:
    zone.client.call("PATCH", zone.url(new), zone.body(new))


class ManagedZone(Resource):
    """A zone."""

    type = "google_dns_managed_zone"
    noun = "ManagedZone"
    collection = "projects/{project}/managedZones"
    service = "dns"
    table: ClassVar[Table] = {
        "name": NEW,
        "dns_name": NEW,
        "description": Field(default="Managed by Terraform"),
        "visibility": Field(replaces=True, default="public"),
        "force_destroy": Field(path=None, default=False),
        "managed_zone_id": Field("id", kind=Int64(), sent=False),
        "creation_time": Field(sent=False),
        "name_servers": Field(sent=False),
        "private_visibility_config": Field(
            fields={"networks": Field(fields={"network_url": Field(kind=Link("networks", "global"))})}
        ),
    }
    changes = (
        Change("labels", _patch),
        Change("description", _patch),
        Change("private_visibility_config", _patch),
    )


class RecordSet(Resource):
    """The records of one name and type. What there is of them already is replaced."""

    type = "google_dns_record_set"
    noun = "RecordSet"
    collection = "projects/{project}/managedZones/{managed_zone}/rrsets"
    service = "dns"
    table: ClassVar[Table] = {
        "name": NEW,
        "managed_zone": Field(path="x-zone", replaces=True, sent=False),
        "type": _PLAIN,
        "ttl": _PLAIN,
        "rrdatas": _PLAIN,
    }
    changes = (Change("ttl", _patch), Change("rrdatas", _patch))

    def create(self, values: Values) -> Values:
        """Have them in the zone."""
        listed = self.client.get(self.url(values, "collection")).get("rrsets", [])
        deletions = [it for it in listed if (it["name"], it["type"]) == (values["name"], values["type"])]
        self._change(values, {"additions": [self.body(values)], "deletions": deletions}, "creating")
        self.made = known(values) | {"id": self.identity(values)}
        return self.present(values)

    def update(self, old: Values, new: Values) -> Values:
        """Take the old ones out and put the new ones in."""
        self._change(new, {"deletions": [self.body(old)], "additions": [self.body(new)]}, "updating")
        return self.present(new)

    def delete(self, values: Values) -> None:
        """Take them out."""
        self._change(values, {"deletions": [self.body(values)]}, "deleting")

    def _change(self, values: Values, change: Document, doing: str) -> None:
        changes = self.url(values, "collection").removesuffix("rrsets") + "changes"
        try:
            made = self.client.call("POST", changes, {name: it for name, it in change.items() if it})
        except ApiError as error:
            raise ApiError(error.status, f"Error {doing} DNS RecordSet: {error}") from error
        while made["status"] != "done":
            if self.client.stopping.wait(self.client.settings.poll_interval):
                raise ApiError(None, "Error waiting for Google DNS change: context canceled")
            made = self.client.get(f"{changes}/{made['id']}")

    def identity(self, values: Values) -> str:
        """Return its id, which has the type at its end."""
        return f"{self.path(values)}/{values['type']}"

    def fetch(self, values: Values) -> Document:
        """Return what the list of the zone has of its name and type."""
        query = {"name": values["name"], "type": values["type"]}
        found = self.client.get(self.url(values, "collection"), **query).get("rrsets", [])
        if not found:
            raise ApiError(404, "no record sets")
        document: Document = found[0]
        return document

    def inward(self, document: Document, before: Values) -> Document:
        """Say in which zone it is."""
        return document | {"x-zone": before["managed_zone"]}

    def import_(self, text: str) -> Values:
        """Return what exists, by `PROJECT/ZONE/NAME/TYPE`, or the whole path."""
        parts = [part for part in text.split("/") if part not in ("projects", "managedZones", "rrsets")]
        names = ("project", "managed_zone", "name", "type")[-len(parts) :]
        found = self.read(self.schema.block.whole(dict(zip(names, parts, strict=True))))
        if found is None:
            raise ApiError(404, "Cannot import non-existent remote object")
        return found


def zone(client: Client, config: Values) -> Values:
    """Read a zone that is there."""
    project = config.get("project") or client.settings.project
    path = f"projects/{project}/managedZones/{config['name']}"
    found = client.get(client.settings.endpoint("dns") + path)
    block = schemas("data_source_schemas")["google_dns_managed_zone"].block
    values = read(block, {"managed_zone_id": Field("id", kind=Int64())}, found, config)
    return values | {"id": path, "project": project}
