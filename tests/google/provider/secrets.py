"""Secrets of Secret Manager and their versions: there are no operations."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

from tests.google.provider.client import ApiError
from tests.google.provider.documents import Document, Field, Table
from tests.google.provider.resource import Change, Resource
from tests.google.provider.schema import Values


def _secret_labels(secret: Resource, old: Values, new: Values) -> None:
    body: Document = {"labels": new["effective_labels"] or {}, "replication": {"automatic": {}}}
    secret.client.call("PATCH", secret.url(new), body, updateMask="labels")


class Secret(Resource):
    """A secret without its values."""

    type = "google_secret_manager_secret"
    noun = "Secret"
    collection = "projects/{project}/secrets"
    service = "secret_manager"
    named = "secret_id"
    table: ClassVar[Table] = {
        "secret_id": Field(replaces=True, sent=False, path="x-id"),
        "name": Field(sent=False),
        "replication": Field(replaces=True, fields={"auto": Field("automatic", replaces=True)}),
    }
    changes = (Change("labels", _secret_labels),)

    def create(self, values: Values) -> Values:
        """Make it; its name is in the query."""
        url = self.url(values, "collection")
        try:
            self.client.call("POST", url, self.body(values), secretId=values["secret_id"])
        except ApiError as error:
            raise ApiError(error.status, f"Error creating Secret: {error}") from error
        return self.present(values)

    def inward(self, document: Document, before: Values) -> Document:
        """Take its id from its name."""
        return document | {"x-id": document["name"].rsplit("/", 1)[1]}


def _state(version: Any, old: Values, new: Values) -> None:
    version.client.call("POST", f"{version.url(new)}:{'enable' if new['enabled'] else 'disable'}", {})


class SecretVersion(Resource):
    """A value of a secret, which is in the state: Terraform's own warning says so."""

    type = "google_secret_manager_secret_version"
    noun = "SecretVersion"
    collection = "{secret}/versions"
    service = "secret_manager"
    named = "version"
    table: ClassVar[Table] = {
        "secret": Field("x-secret", replaces=True, sent=False),
        "secret_data": Field("x-data", replaces=True, sent=False),
        "is_secret_data_base64": Field(path=None, replaces=True, default=False),
        "enabled": Field("x-enabled", default=True, sent=False),
        "version": Field("x-version"),
    }
    changes = (Change("enabled", _state),)

    def create(self, values: Values) -> Values:
        """Add it, and say whether it can be read."""
        data = values["secret_data"]
        plain = data if values["is_secret_data_base64"] else base64.b64encode(data.encode()).decode()
        url = f"{self.client.settings.endpoint(self.service)}{values['secret']}:addVersion"
        try:
            made = self.client.call("POST", url, {"payload": {"data": plain}})
        except ApiError as error:
            raise ApiError(error.status, f"Error creating SecretVersion: {error}") from error
        values = values | {"version": made["name"].rsplit("/", 1)[1], "name": made["name"]}
        _state(self, values, values)
        return self.present(values)

    def fetch(self, values: Values) -> Document:
        """Return it with its value. Raises ApiError; one that was destroyed is not there."""
        found = super().fetch(values)
        if found["state"] == "DESTROYED":
            raise ApiError(404, "destroyed")
        if found["state"] == "ENABLED":
            payload = self.client.get(f"{self.url(values)}:access")["payload"]["data"]
            encoded = values["is_secret_data_base64"]
            found["x-data"] = payload if encoded else base64.b64decode(payload).decode()
        else:
            found["x-data"] = values["secret_data"]
        return found

    def inward(self, document: Document, before: Values) -> Document:
        """Take its number from its name."""
        version = document["name"].rsplit("/", 1)[1]
        enabled = document["state"] == "ENABLED"
        return document | {"x-secret": before["secret"], "x-version": version, "x-enabled": enabled}

    def delete(self, values: Values) -> None:
        """Destroy its value; its number stays."""
        self.client.call("POST", f"{self.url(values)}:destroy", {})
