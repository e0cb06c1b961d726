"""Terraform's plugin protocol over the resources and data sources of the stand-in."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

from stoneware.provider.protocol import path_fields
from stoneware.provider.values import pack, unpack
from tests.google.provider import compute, data, dns, instance, secrets, storage
from tests.google.provider.client import ApiError, Client
from tests.google.provider.resource import Resource
from tests.google.provider.schema import Values, message_fields, provider, schemas
from tests.google.provider.settings import Settings, SettingsError, settings

Fields = dict[str, Any]
RESOURCES: dict[str, type[Resource]] = {
    each.type: each
    for each in (
        compute.Address,
        compute.AttachedDisk,
        compute.Disk,
        compute.DiskImage,
        compute.Firewall,
        compute.Network,
        compute.Subnetwork,
        dns.ManagedZone,
        dns.RecordSet,
        instance.Instance,
        storage.Bucket,
        storage.BucketObject,
        secrets.Secret,
        secrets.SecretVersion,
    )
}


class Servicer:
    """What Terraform calls: a method for each call, which returns the fields of the reply."""

    def __init__(self) -> None:
        self._settings = Settings()
        self._stopping = threading.Event()

    def GetProviderSchema(self, _request: Any) -> Fields:
        return {
            "provider": message_fields(provider()),
            "server_capabilities": {"get_provider_schema_optional": True},
            "resource_schemas": {
                name: message_fields(each) for name, each in schemas("resource_schemas").items()
            },
            "data_source_schemas": {
                name: message_fields(each) for name, each in schemas("data_source_schemas").items()
            },
        }

    def ValidateProviderConfig(self, _request: Any) -> Fields:
        return {}

    def ConfigureProvider(self, request: Any) -> Fields:
        try:
            self._settings = settings(unpack(request.config.msgpack), os.environ)
        except SettingsError as error:
            return _refused(error)
        return {}

    def StopProvider(self, _request: Any) -> Fields:
        self._stopping.set()
        return {}

    def ValidateResourceConfig(self, _request: Any) -> Fields:
        return {}

    def ValidateDataResourceConfig(self, _request: Any) -> Fields:
        return {}

    def UpgradeResourceState(self, request: Any) -> Fields:
        block = schemas("resource_schemas")[request.type_name].block
        return {"upgraded_state": _packed(block.whole(json.loads(request.raw_state.json)))}

    def ReadResource(self, request: Any) -> Fields:
        before = unpack(request.current_state.msgpack)
        resource = self._resource(request)
        return _answer(lambda: {"new_state": _packed(resource.read(before))}, {"new_state": _packed(before)})

    def PlanResourceChange(self, request: Any) -> Fields:
        resource = self._resource(request)
        if unpack(request.proposed_new_state.msgpack) is None:  # a removal
            return {"planned_state": _packed(None)}

        def planned() -> Fields:
            have, wanted = unpack(request.prior_state.msgpack), unpack(request.config.msgpack)
            plan, replaced = resource.plan(have, wanted)
            replaces = [path_fields(path) for path in replaced]
            return {"planned_state": _packed(plan), "requires_replace": replaces, "legacy_type_system": True}

        return _answer(planned, {})

    def ApplyResourceChange(self, request: Any) -> Fields:
        resource = self._resource(request)
        prior, planned = unpack(request.prior_state.msgpack), unpack(request.planned_state.msgpack)
        state = prior
        try:
            if planned is None:
                resource.delete(prior)
                state = None
            elif prior is None:
                state = resource.create(planned)
            else:
                state = resource.update(prior, planned)
        except (ApiError, SettingsError) as error:
            # What has been made and does not do is kept as tainted.
            left = resource.made if prior is None else state
            return {"new_state": _packed(left), "legacy_type_system": True, **_refused(error)}
        return {"new_state": _packed(state), "legacy_type_system": True}

    def ImportResourceState(self, request: Any) -> Fields:
        resource = self._resource(request)

        def imported() -> Fields:
            state = _packed(resource.import_(request.id))
            return {"imported_resources": [{"type_name": request.type_name, "state": state}]}

        return _answer(imported, {})

    def ReadDataSource(self, request: Any) -> Fields:
        config = unpack(request.config.msgpack)
        reader = data.READERS[request.type_name]
        return _answer(lambda: {"state": _packed(reader(self._client(), config))}, {})

    def _client(self) -> Client:
        return Client(self._settings, self._stopping)

    def _resource(self, request: Any) -> Resource:
        return RESOURCES[request.type_name](self._client())


def _answer(make: Callable[[], Fields], otherwise: Fields) -> Fields:
    """Return what is made, or an error with what there is otherwise."""
    try:
        return make()
    except (ApiError, SettingsError) as error:
        return otherwise | _refused(error)


def _refused(error: Exception) -> Fields:
    return {"diagnostics": [{"severity": "ERROR", "summary": str(error)}]}


def _packed(values: Values | None) -> Fields:
    return {"msgpack": pack(values)}
