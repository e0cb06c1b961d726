"""What all methods are made of: a call, and the service that keeps resources and operations."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.emulator import catalog, checks, errors, prepare, values
from stoneware.emulator.discovery import Document, Method
from stoneware.emulator.faults import Faults
from stoneware.emulator.instance_fill import default_account
from stoneware.emulator.jobs import Job, Jobs
from stoneware.emulator.kinds import KINDS
from stoneware.emulator.operations import Operations
from stoneware.emulator.store import Record, Store
from stoneware.emulator.tokens.instances import InstanceTokens
from stoneware.emulator.tokens.records import Tokens
from stoneware.model.ingress import Ingress
from stoneware.platforms.instances import Computers

SCOPES = ("zone", "region")
Names = tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]  # names by address, and whole domains


@dataclass(frozen=True)
class Call:
    """One request: its method, its parameters with their types, its checked body.

    `cleared`: the fields that the body sets to null; `nulls`: those at any depth, each within what it is in.
    `base`: the server as the client calls it, as `http://127.0.0.1:8089`. `bearer`: the client's token.
    `guest`: the machine of an instance that asks; a program of this computer has none.
    """

    method: Method
    query: Mapping[str, Any]
    body: Record = field(default_factory=dict)
    cleared: frozenset[str] = frozenset()
    nulls: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    bearer: str = ""
    guest: str = ""

    @property
    def project(self) -> str:
        """The project's name."""
        return str(self.query["project"])

    @property
    def scope(self) -> str:
        """The scope below the project, as `zones/us-central1-a`."""
        return next((f"{name}s/{self.query[name]}" for name in SCOPES if name in self.query), "global")

    @property
    def parent(self) -> str:
        """The key of the scope, as `projects/p/global`."""
        return f"projects/{self.project}/{self.scope}"

    @property
    def path(self) -> str:
        """The path of the request, as `projects/p/zones`."""
        parts = self.method.path.split("/")
        return "/".join(str(self.query[part[1:-1]]) if part[0] == "{" else part for part in parts)

    def key(self, collection: str) -> str:
        """The key of the resource that the path names last."""
        name = self.method.path.split("{")[-1].split("}")[0]
        return f"{self.parent}/{collection}/{self.query[name]}"

    def operation(self, started: Record) -> str:
        """The key of an operation that this call has started."""
        return f"{self.parent}/operations/{started['name']}"

    @property
    def request(self) -> str | None:
        """The caller's id of the request, by which a repeated one is known. Raises ApiError (400)."""
        text = self.query.get("requestId")
        if not text:
            return None
        try:
            known = uuid.UUID(text)
        except ValueError:
            known = uuid.UUID(int=0)
        if not known.int:
            raise errors.invalid("requestId", text, "Must be a UUID other than zero.")
        return str(known)


class Service:
    """The resources of a store, how they are made and changed."""

    def __init__(
        self,
        document: Document,
        store: Store,
        *,
        delay: float = 0.1,
        clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
        latency: float = 0.0,
        open_computers: Callable[[], Computers] | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.latency = latency  # seconds before each reply
        self._open_computers = open_computers
        self._computers: Computers | None = None
        self._opening = threading.Lock()
        self.networking = threading.Lock()  # of who says which ranges a network has on this computer
        self.jobs = Jobs()
        self.document = document
        self.store = store
        self.clock = clock
        self.operations = Operations(store, delay, clock)
        self.tokens = Tokens(store, clock)
        self.instance_tokens = InstanceTokens(self.tokens)
        self.named: dict[str, Names] = {}  # by network: what its machines have been told
        self.guarded: dict[str, Ingress] = {}  # by instance: what its machine has been told to let in
        self._when_opened: list[Callable[[Computers], None]] = []

    @property
    def computers(self) -> Computers | None:
        """What stands behind instances, opened by the first that asks; None where this serves records only.

        Raises StonewareError where this computer can have no machines.
        """
        # Two first requests must not open it twice.
        with self._opening:
            if self._computers is None and self._open_computers is not None:
                self._computers = self._open_computers()
                for action in self._when_opened:
                    action(self._computers)
            return self._computers

    def when_opened(self, action: Callable[[Computers], None]) -> None:
        """Do something with what stands behind instances, now or as soon as it is opened."""
        with self._opening:
            self._when_opened.append(action)
            if self._computers is not None:
                action(self._computers)

    @property
    def opened(self) -> Computers | None:
        """What stands behind instances, if something has asked for it."""
        return self._computers

    def begin(self, job: Job) -> None:
        """Begin a job once what asks for it is written."""
        self.store.afterwards(lambda: self.jobs.add(job))

    def add_project(self, project: str) -> None:
        """Make a project with its default network, unless it is there."""
        key = f"projects/{project}"
        if self.store.get(key) is not None:
            return
        record = self._new(key, "Project", {"name": project})
        record["defaultServiceAccount"] = default_account(project)
        record["commonInstanceMetadata"] = {"kind": "compute#metadata", "fingerprint": values.fingerprint([])}
        network = f"{key}/global/networks/default"
        place = prepare.Place(self.store, project, "global")
        with self.store.transaction():
            self.create(place, "networks", network, {"name": "default", "autoCreateSubnetworks": True}, {})
            for name, content in prepare.default_rules(network):
                self.create(place, "firewalls", f"{key}/global/firewalls/{name}", content, {})
            self.store.put(key, record)

    def add_public_images(self) -> None:
        """Have the images of Debian's public project, unless they are there."""
        self.add_project(catalog.PUBLIC)
        place = prepare.Place(self.store, catalog.PUBLIC, "global")
        for family, base in catalog.PUBLIC_IMAGES.items():
            key = f"projects/{catalog.PUBLIC}/global/images/{family}-stoneware"
            if self.store.get(key) is None:
                with self.store.transaction():
                    self.create(place, "images", key, catalog.public_image(family, base), {})

    def _new(self, key: str, schema: str, content: Record) -> Record:
        head = {"kind": f"compute#{schema[0].lower()}{schema[1:]}", "id": values.new_id()}
        head |= {"creationTimestamp": values.timestamp(self.clock()), "selfLink": values.LINK + key}
        return content | head

    def create(
        self, place: prepare.Place, collection: str, key: str, content: Record, query: Mapping[str, Any]
    ) -> Record:
        """Make a resource, and what comes with it, and return its record. Raises ApiError."""
        self.absent(key)
        kind = KINDS[collection]
        checks.labels(content.get("labels", {}))
        kind.prepare(place, content, query)
        schema = kind.singular.capitalize()
        record = self._new(key, schema, content)
        scope, _, name = place.scope.partition("/")
        if name:
            record[scope[:-1]] = f"{values.LINK}projects/{place.project}/{place.scope}"
        # Not all types have labels.
        if "labelFingerprint" in self.document.schemas[schema]["properties"]:
            record["labelFingerprint"] = values.fingerprint(record.get("labels"))
        with self.store.transaction():
            self.keep(collection, key, record)
            if collection == "networks" and content["autoCreateSubnetworks"]:
                self._auto_subnetworks(place, content["name"])
        return record

    def _auto_subnetworks(self, place: prepare.Place, network: str) -> None:
        for region, (_, cidr) in catalog.REGIONS.items():
            within = prepare.Place(self.store, place.project, f"regions/{region}")
            key = f"projects/{place.project}/regions/{region}/subnetworks/{network}"
            content = {"name": network, "network": f"global/networks/{network}", "ipCidrRange": cidr}
            self.create(within, "subnetworks", key, content | {prepare.AUTOMATIC: True}, {})

    def keep(self, collection: str, key: str, record: Record) -> None:
        """Write a record, with the fingerprint of its content where its type has one."""
        properties = self.document.schemas[KINDS[collection].singular.capitalize()]["properties"]
        if "fingerprint" in properties:
            # Of all but itself, or it would differ at each writing.
            record["fingerprint"] = values.fingerprint({**record, "fingerprint": None})
        self.store.put(key, record)

    def existing(self, key: str) -> Record:
        """Return a record. Raises ApiError (404)."""
        record = self.store.get(key)
        if record is None:
            raise errors.not_found(key)
        return record

    def absent(self, key: str) -> None:
        """Raise ApiError (409) where there is a resource of this key."""
        if self.store.get(key) is not None:
            raise errors.exists(key)

    def started(
        self,
        call: Call,
        kind: str,
        key: str,
        number: str,
        failure: errors.ApiError | None = None,
        *,
        working: bool = False,
    ) -> Record:
        """Return the operation of a call on a resource with an id.

        It is done or has failed already, unless it is `working`: then a job ends it.
        """
        slower = self.faults.slowness()
        return self.operations.start(
            *(call.parent, kind, key, number),
            request=call.request,
            failure=failure,
            slower=slower,
            working=working,
        )


def shown(record: Record) -> Record:
    """Return a record without what is kept for the emulator's own use."""
    return {name: value for name, value in record.items() if not name.startswith("x-") and value is not None}
