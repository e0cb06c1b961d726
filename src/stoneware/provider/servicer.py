"""Terraform's plugin protocol over our resources: a method for each of its calls.

Each takes the call's request and returns the fields of its response. `protocol.answers` makes of
them what a server of gRPC calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from stoneware.provider.protocol import diagnostic_fields, path_fields, schema_fields, schema_message
from stoneware.provider.provider import StonewareProvider
from stoneware.provider.reporting import Diagnostics
from stoneware.provider.resource import Described, StonewareDataSource, StonewareResource
from stoneware.provider.schema import Schema
from stoneware.provider.values import Attribute, Unknown, pack, unpack

Fields = dict[str, Any]


class Servicer:
    """What Terraform calls. `on_stop` is called when Terraform was interrupted."""

    def __init__(self, provider: StonewareProvider, on_stop: Callable[[], None] | None = None) -> None:
        self._provider = provider
        self._on_stop = on_stop

    def GetProviderSchema(self, _request: Any) -> Fields:
        """Return all attributes; the provider itself has none.

        Terraform may keep them for its next commands: it asks several times in each otherwise.
        """
        return {
            "provider": schema_fields(Schema((), version=1)),
            "server_capabilities": {"get_provider_schema_optional": True},
            "resource_schemas": _messages(self._provider.resources),
            "data_source_schemas": _messages(self._provider.data_sources),
        }

    def ValidateProviderConfig(self, _request: Any) -> Fields:
        """Accept the empty configuration."""
        return {}

    def ConfigureProvider(self, _request: Any) -> Fields:
        """Begin a command: one that was interrupted before is over."""
        # A provider that is attached serves many commands one after the other.
        self._provider.stopping.clear()
        diags = Diagnostics()
        self._provider.configure(diags)
        return _told(diags)

    def StopProvider(self, _request: Any) -> Fields:
        """Tell the threads that wait for machines that Terraform was interrupted."""
        self._provider.stopping.set()
        if self._on_stop is not None:
            self._on_stop()
        return {}

    def ValidateResourceConfig(self, request: Any) -> Fields:
        """Check a resource's configuration."""
        diags = Diagnostics()
        resource, schema = self._resource(request)
        resource.validate(diags, schema.decode(unpack(request.config.msgpack)) or {})
        return _told(diags)

    def ValidateDataResourceConfig(self, request: Any) -> Fields:
        """Check a data source's configuration."""
        diags = Diagnostics()
        source, schema = self._source(request)
        source.validate(diags, schema.decode(unpack(request.config.msgpack)) or {})
        return _told(diags)

    def UpgradeResourceState(self, request: Any) -> Fields:
        """Return a state as the present schema has it: of our own version too, in the protocol's types."""
        resource, schema = self._resource(request)
        new = resource.upgrade(json.loads(request.raw_state.json))
        return {"upgraded_state": _packed(schema.encode(schema.decode(new)))}

    def ReadResource(self, request: Any) -> Fields:
        """Return the state of what there is now."""
        diags = Diagnostics()
        resource, schema = self._resource(request)
        given = unpack(request.current_state.msgpack)
        state = resource.read(diags, schema.decode(given) or {})
        return {"new_state": _packed(schema.encode(state, given)), **_told(diags)}

    def PlanResourceChange(self, request: Any) -> Fields:
        """Plan one resource: defaults, what is not known yet, and what makes a new object."""
        resource, schema = self._resource(request)
        proposed = unpack(request.proposed_new_state.msgpack)
        if proposed is None:  # a removal
            return {"planned_state": _packed(None)}
        prior = schema.decode(unpack(request.prior_state.msgpack))
        _complete(schema, proposed, unpack(request.config.msgpack), new=prior is None)
        wanted = schema.decode(proposed) or {}
        diags = Diagnostics()
        planned = resource.plan(diags, None if prior is None else dict(prior), dict(wanted))
        return {
            "planned_state": _packed(schema.encode(planned, proposed)),
            "requires_replace": [path_fields([name]) for name in _replacing(resource, prior, wanted)],
            **_told(diags),
        }

    def ApplyResourceChange(self, request: Any) -> Fields:
        """Create, change or remove one resource."""
        diags = Diagnostics()
        resource, schema = self._resource(request)
        given = unpack(request.planned_state.msgpack)
        prior, planned = schema.decode(unpack(request.prior_state.msgpack)), schema.decode(given)
        # Terraform has one call for three: no planned state removes, no prior state creates.
        if planned is None:
            state = resource.delete(diags, prior or {})
        elif prior is None:
            state = resource.create(diags, planned)
        else:
            state = resource.update(diags, prior, planned)
        return {"new_state": _packed(schema.encode(state, given)), **_told(diags)}

    def ImportResourceState(self, request: Any) -> Fields:
        """Take over what exists, by its name."""
        diags = Diagnostics()
        resource, schema = self._resource(request)
        state = resource.import_(diags, request.id)
        imported = [{"type_name": request.type_name, "state": _packed(schema.encode(state))}]
        return {"imported_resources": imported if state is not None else [], **_told(diags)}

    def ReadDataSource(self, request: Any) -> Fields:
        """Return what there is."""
        diags = Diagnostics()
        source, schema = self._source(request)
        given = unpack(request.config.msgpack)
        state = source.read(diags, schema.decode(given) or {})
        return {"state": _packed(schema.encode(state, given)), **_told(diags)}

    def _resource(self, request: Any) -> tuple[StonewareResource, Schema]:
        resource = self._provider.resources[request.type_name](self._provider)
        return resource, resource.schema

    def _source(self, request: Any) -> tuple[StonewareDataSource, Schema]:
        source = self._provider.data_sources[request.type_name](self._provider)
        return source, source.schema


def _messages(classes: Mapping[str, type[Described]]) -> Fields:
    return {name: schema_message(found.schema) for name, found in classes.items()}


def _complete(schema: Schema, proposed: Fields, config: Fields, *, new: bool) -> None:
    """Put defaults, and what will be known after the apply, into what Terraform proposes.

    Of an object that exists Terraform proposes the old value of a computed attribute, so that without the
    default taking `restart = "always"` out of a configuration would do nothing.
    """
    for name, attribute in schema.by_name.items():
        if attribute.default is not Unknown and config.get(name) is None:
            proposed[name] = attribute.type.encode(attribute.default)
        elif new and attribute.computed and proposed.get(name) is None:
            proposed[name] = Unknown


def _replacing(resource: StonewareResource, prior: Fields | None, wanted: Fields) -> list[str]:
    """Return the attributes whose change takes a new object."""
    if prior is None:
        return []

    def replaces(attribute: Attribute) -> bool:
        name = attribute.name
        changed = attribute.requires_replace and prior.get(name) != wanted.get(name)
        return changed and resource.differs(name, prior, wanted)

    return sorted(each.name for each in resource.schema.attributes if replaces(each))


def _told(diags: Diagnostics) -> Fields:
    return {"diagnostics": [diagnostic_fields(each) for each in diags.found]}


def _packed(value: Fields | None) -> Fields:
    return {"msgpack": pack(value)}
