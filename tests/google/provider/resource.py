"""What all resources do, each by its table: plan, create, read, change, delete, import."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stoneware.provider.values import Unknown
from tests.google.provider import images
from tests.google.provider.client import ApiError, Client
from tests.google.provider.documents import Document, Table, changed, known, read, written
from tests.google.provider.kinds import Place
from tests.google.provider.planning import Path, Planner, plan_labels, read_labels
from tests.google.provider.schema import Schema, Values, schemas
from tests.google.provider.settings import seconds

DEFAULT_LIMIT = 20 * 60.0  # seconds


@dataclass(frozen=True)
class Change:
    """A change in place: what it is for, and the requests that make it. `stopped`: the instance must be."""

    of: str  # an attribute, or a block with all in it
    make: Callable[[Any, Values, Values], None]  # resource, old, new
    stopped: bool = False

    def concerns(self, name: str) -> bool:
        """Say whether an attribute is changed by it."""
        return name == self.of or name.startswith(f"{self.of}.")


class Resource:
    """A type of resources; an object of it serves one call."""

    type: ClassVar[str]
    noun: ClassVar[str]  # in errors
    collection: ClassVar[str]  # its path
    table: ClassVar[Table] = {}
    changes: ClassVar[Sequence[Change]] = ()
    service: ClassVar[str] = "compute"
    named: ClassVar[str] = "name"  # the attribute that is the last part of its path

    def __init__(self, client: Client) -> None:
        self.client = client
        self.made: Values | None = None  # what a creation has made when it fails afterwards

    @property
    def schema(self) -> Schema:
        """Its schema."""
        return schemas("resource_schemas")[self.type]

    # Hooks of types that differ.

    def outward(self, document: Document, values: Values) -> Document:
        """Return the body of a creation for what the table has written."""
        return document

    def inward(self, document: Document, before: Values) -> Document:
        """Return what the table reads, for a reply."""
        return document

    def customize(self, planned: Values, have: Values | None, replaced: list[Path]) -> None:
        """Change a plan where the table does not say all."""

    def created(self, values: Values) -> None:
        """Do what follows the operation of a creation."""

    def before_delete(self, values: Values) -> None:
        """Do what comes before a removal."""

    # What Terraform calls.

    def plan(self, have: Values | None, wanted: Values) -> tuple[Values, list[Path]]:
        """Return the plan, and the paths of what takes another object."""
        planner = Planner()
        planned = planner.block(self.schema.block, self.table, have, wanted, [])
        settings = self.client.settings
        for name in ("project", "region", "zone"):
            if planned.get(name) is Unknown and wanted[name] is None:
                planned[name] = getattr(settings, name)
                if not planned[name]:
                    raise ApiError(None, f"{name}: required field is not set")
        plan_labels(planned, have, settings.default_labels, attributed=settings.attributed)
        self.customize(planned, have, planner.replaced)
        return planned, planner.replaced

    def create(self, values: Values) -> Values:
        """Make what was planned. Raises ApiError; `made` is then what there is all the same."""
        try:
            operation = self.client.call("POST", self.url(values, of="collection"), self.body(values))
        except ApiError as error:
            raise ApiError(error.status, f"Error creating {self.noun}: {error}") from error
        self.finish(operation, values, f"{self.noun} to create", "create")
        self.made = known(values) | {"id": self.identity(values)}
        self.created(values)
        return self.present(values)

    def read(self, before: Values) -> Values | None:
        """Return what there is now, None for nothing."""
        try:
            document = self.fetch(before)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        view = self.inward(document, before)
        values = read(self.schema.block, self.table, view, before)
        values |= {"id": self.identity(before)}
        if "project" in values:
            values["project"] = self.place(before).project
        read_labels(values, view.get("labels") or {}, before)
        return values

    def update(self, old: Values, new: Values) -> Values:
        """Change in place what was planned to be changed. Raises ApiError."""
        names = self.changed(old, new)
        for change in self.due(names):
            change.make(self, old, new)
        return self.present(new)

    def delete(self, values: Values) -> None:
        """Remove it, if it is there. Raises ApiError."""
        self.before_delete(values)
        try:
            operation = self.client.call("DELETE", self.url(values))
        except ApiError as error:
            if error.status == 404:
                return
            raise ApiError(error.status, f"Error deleting {self.noun}: {error}") from error
        self.finish(operation, values, f"{self.noun} to delete", "delete")

    def import_(self, text: str) -> Values:
        """Return what exists, by its path or the last parts of it. Raises ApiError."""
        names = [*re.findall(r"{(\w+)}", self.collection), self.named]
        path = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", f"{self.collection}/{{{self.named}}}")
        whole = re.fullmatch(path, text)
        parts = list(whole.groupdict().values()) if whole else text.split("/")
        settings = self.client.settings
        values: Values = {name: getattr(settings, name, "") for name in names[:-1]}
        values |= dict(zip(names[-len(parts) :], parts, strict=False))
        found = self.read(self.schema.block.whole(values))
        if found is None:
            raise ApiError(404, "Cannot import non-existent remote object")
        return found

    # What they share.

    def place(self, values: Values) -> Place:
        """Return where it is."""
        project, region, zone = (
            (known(values.get(name)) or getattr(self.client.settings, name)).rsplit("/", 1)[-1]
            for name in ("project", "region", "zone")
        )
        region = region or zone.rpartition("-")[0]
        return Place(project, region, zone, lambda text: images.resolve(self.client, project, text))

    def path(self, values: Values, of: str = "") -> str:
        """Return its path, or that of its collection."""
        place = self.place(values)
        parent = self.collection.format(**{**values, **vars(place)})
        return parent if of == "collection" else f"{parent}/{values[self.named]}"

    def url(self, values: Values, of: str = "") -> str:
        """Return where it is, or its collection."""
        return self.client.settings.endpoint(self.service) + self.path(values, of)

    def identity(self, values: Values) -> str:
        """Return its id."""
        return self.path(values)

    def fetch(self, values: Values) -> Document:
        """Return its document. Raises ApiError."""
        return self.client.get(self.url(values))

    def body(self, values: Values) -> Document:
        """Return what a creation sends."""
        document = written(self.schema.block, self.table, values, self.place(values))
        if labels := values.get("effective_labels"):
            document["labels"] = labels
        return self.outward(document, values)

    def present(self, values: Values) -> Values:
        """Return the state of what is there. Raises ApiError where it is not."""
        found = self.read(values)
        if found is None:
            raise ApiError(404, f"{self.noun} {values[self.named]} is gone")
        return found

    def changed(self, old: Values, new: Values) -> set[str]:
        """Return the names of what differs."""
        names = set(changed(self.schema.block, self.table, old, new))
        differ = old.get("effective_labels") != new.get("effective_labels")
        return names | ({"labels"} if differ else set())

    def due(self, names: set[str], *, stopped: bool = False) -> list[Change]:
        """Return the changes for what differs. Raises ApiError for what cannot be changed in place."""
        for name in names:
            if not any(change.concerns(name) for change in self.changes):
                raise ApiError(
                    None, f"this stand-in for hashicorp/google does not change {name} of {self.type}"
                )
        return [
            change
            for change in self.changes
            if change.stopped == stopped and any(change.concerns(name) for name in names)
        ]

    def act(
        self, values: Values, action: str, body: Mapping[str, Any] | None = None, /, **query: str
    ) -> None:
        """Ask for an action, and wait until it is done. Raises ApiError."""
        given = None if body is None else dict(body)
        operation = self.client.call("POST", f"{self.url(values)}/{action}", given, **query)
        self.finish(operation, values, f"{action} of {self.noun}", "update")

    def finish(self, operation: Document, values: Values, what: str, of: str) -> None:
        """Wait for an operation, which is what Compute Engine replies with."""
        if self.service == "compute":
            self.client.wait(operation, self.place(values).project, what, self.limit(values, of))

    def limit(self, values: Values, of: str) -> float:
        """Return the seconds that a creation, update or removal has."""
        text = (values.get("timeouts") or {}).get(of)
        return seconds(text) if text else DEFAULT_LIMIT


def set_labels(resource: Resource, old: Values, new: Values) -> None:
    """Replace all labels."""
    body = {"labelFingerprint": old["label_fingerprint"], "labels": new["effective_labels"]}
    resource.act(new, "setLabels", body)
