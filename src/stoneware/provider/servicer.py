"""The plugin protocol, with what the `tf` framework leaves out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgpack  # type: ignore[import-untyped]
from tf.gen import tfplugin_pb2 as pb
from tf.iface import PlanContext
from tf.provider import ProviderServicer
from tf.types import Unknown
from tf.utils import Diagnostics, to_dynamic_value

from stoneware.provider.provider import StonewareProvider
from stoneware.provider.resource import StonewareResource


class Servicer(ProviderServicer):  # type: ignore[misc]  # the framework has no type hints
    """The framework's servicer, with plans and upgrades of our own and a say when Terraform wants to stop."""

    def __init__(self, provider: StonewareProvider, on_stop: Callable[[], None] | None = None) -> None:
        super().__init__(provider)
        self._provider = provider
        self._on_stop = on_stop

    def PlanResourceChange(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Plan one resource: defaults, what is not known yet, and what makes a new object.

        The framework applies defaults to new objects only and does not ask the resource about them. On an
        update Terraform proposes the old value of a computed attribute, so that without the defaults taking
        `restart = "always"` out of a configuration would do nothing.
        """
        attributes = self._get_res_attrs(request.type_name)
        config, proposed = _read(request.config), _read(request.proposed_new_state)
        if proposed is None:
            return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(None))
        prior = _decoded(attributes, _read(request.prior_state))
        for name, attribute in attributes.items():
            if attribute.default is not Unknown and config.get(name) is None:
                proposed[name] = attribute.type.encode(attribute.default)
            elif prior is None and attribute.computed and proposed.get(name) is None:
                proposed[name] = Unknown
        diagnostics = Diagnostics()
        resource: StonewareResource = self.app.new_resource(self._get_res_cls(request.type_name))
        wanted = _decoded(attributes, proposed) or {}
        changed = {name for name in attributes if prior is None or prior.get(name) != wanted.get(name)}
        planned = resource.plan(
            PlanContext(diagnostics, request.type_name, changed), deepcopy(prior), deepcopy(wanted)
        )
        anew = [
            name
            for name in sorted(changed)
            if prior is not None
            and attributes[name].requires_replace
            and resource.differs(name, prior, wanted)
        ]
        return pb.PlanResourceChange.Response(
            planned_state=to_dynamic_value(_encoded(attributes, planned, proposed)),
            requires_replace=[
                pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)]) for name in anew
            ],
            diagnostics=diagnostics.to_pb(),
        )

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Return a state as the present schema has it: of our own version too, in the protocol's types."""
        attributes = self._get_res_attrs(request.type_name)
        resource = self.app.new_resource(self._get_res_cls(request.type_name))
        old = json.loads(request.raw_state.json)
        new = resource.upgrade(None, request.version, old)
        encoded = _encoded(attributes, _decoded(attributes, new), None)
        return pb.UpgradeResourceState.Response(upgraded_state=to_dynamic_value(encoded))

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        """Check a resource's configuration."""
        return super().ValidateResourceConfig(_with(request, "config", _read(request.config)), context)

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        """Check a data source's configuration."""
        return super().ValidateDataResourceConfig(_with(request, "config", _read(request.config)), context)

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        """Begin a command: one that was interrupted before is over."""
        self._provider.stopping.clear()
        return super().ConfigureProvider(request, context)

    def StopProvider(self, request: Any, context: Any) -> Any:
        """Tell whoever is waiting for a machine that Terraform was interrupted."""
        self._provider.stopping.set()
        if self._on_stop is not None:
            self._on_stop()
        return super().StopProvider(request, context)


def _decoded(attributes: Any, state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        name: value if value is Unknown else attributes[name].type.decode(value)
        for name, value in state.items()
        if name in attributes
    }


def _encoded(attributes: Any, state: Any, given: dict[str, Any] | None) -> dict[str, Any]:
    """Return a state in the protocol's types, what was given and still means the same as it came."""
    encoded = {}
    for name, attribute in attributes.items():
        value = state.get(name)
        same = given is not None and attribute.type.decode(given.get(name)) == value
        encoded[name] = given.get(name) if given and same else attribute.type.encode(value)
    return encoded


def _read(value: Any) -> Any:
    """Decode a value. The framework lacks unknown values that have a refinement, such as not-null."""
    return msgpack.unpackb(value.msgpack, ext_hook=lambda _code, _data: Unknown) if value.msgpack else None


def _with(request: Any, field: str, value: Any) -> Any:
    changed = type(request)()
    changed.CopyFrom(request)
    getattr(changed, field).CopyFrom(to_dynamic_value(value))
    return changed
