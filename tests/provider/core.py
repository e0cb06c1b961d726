"""The part of Terraform's core that talks to a provider: the plugin protocol, and the rules core holds it to.

It checks what core checks: a plan keeps what the configuration says, an apply keeps what was planned, nothing
stays unknown, and every attribute of the schema is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import msgpack  # type: ignore[import-untyped]

from stoneware.provider.protocol import protocol
from stoneware.provider.server import ProviderServer

UNKNOWN = msgpack.ExtType(0, b"\x00")
NOT_NULL = msgpack.ExtType(12, msgpack.packb({1: False}))  # unknown, and known not to be null

State = dict[str, Any]


class Refused(AssertionError):
    """The provider answered with errors: (summary, detail, path of the attribute)."""

    def __init__(self, errors: list[tuple[str, str, str]]) -> None:
        super().__init__(str(errors))
        self.errors = errors


@dataclass(frozen=True)
class Planned:
    """What the provider plans; None for a removal."""

    state: State | None
    replace: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def unknown(self) -> set[str]:
        return {name for name, value in (self.state or {}).items() if is_unknown(value)}


class Core:
    """One provider, served as Terraform is served; use it in a `with` block."""

    def __init__(self, server: ProviderServer, directory: Path) -> None:
        self._server = server
        self._socket = directory / "core.sock"

    def __enter__(self) -> Self:
        self._server.serve(self._socket)
        self._channel = grpc.insecure_channel(f"unix:{self._socket}")
        self.schema = self._call("GetProviderSchema")
        self._call("ConfigureProvider", config=pack({}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._server.close()

    def _send(self, method: str, **fields: Any) -> Any:
        [found] = [each for each in protocol().methods if each.name == method]
        call = self._channel.unary_unary(
            found.path, found.request.SerializeToString, found.response.FromString
        )
        return call(found.request(**fields), timeout=300)

    def _call(self, method: str, **fields: Any) -> Any:
        response = self._send(method, **fields)
        errors = [
            (found.summary, found.detail, path(found.attribute))
            for found in response.diagnostics
            if found.severity == protocol().message("Diagnostic").ERROR
        ]
        if errors:
            raise Refused(errors)
        return response

    def attributes(self, type_name: str, *, data: bool = False) -> dict[str, Any]:
        schemas = self.schema.data_source_schemas if data else self.schema.resource_schemas
        return {attribute.name: attribute for attribute in schemas[type_name].block.attributes}

    def config(self, type_name: str, given: Mapping[str, Any], *, data: bool = False) -> State:
        """Return a whole configuration: what is not given is null."""
        attributes = self.attributes(type_name, data=data)
        assert set(given) <= set(attributes)
        return {name: whole(attribute, given.get(name)) for name, attribute in attributes.items()}

    def validate(self, type_name: str, given: Mapping[str, Any]) -> None:
        config = self.config(type_name, given)
        self._call("ValidateResourceConfig", type_name=type_name, config=pack(config))

    def plan(self, type_name: str, prior: State | None, given: Mapping[str, Any] | None) -> Planned:
        if given is None:
            return Planned(None)
        attributes, config = self.attributes(type_name), self.config(type_name, given)
        proposed = {
            name: (prior or {}).get(name) if value is None and attributes[name].computed else value
            for name, value in config.items()
        }
        response = self._call(
            "PlanResourceChange",
            type_name=type_name,
            prior_state=pack(prior),
            proposed_new_state=pack(proposed),
            config=pack(config),
        )
        planned = unpack(response.planned_state)
        assert set(planned) == set(attributes)
        for name, value in config.items():
            if value is not None or not attributes[name].computed:
                assert same(planned[name], value), f"{name} is planned as {planned[name]}, not as {value}"
        warnings = tuple(found.summary for found in response.diagnostics)
        return Planned(planned, tuple(path(found) for found in response.requires_replace), warnings)

    def apply(self, type_name: str, prior: State | None, planned: State | None) -> State | None:
        response = self._call(
            "ApplyResourceChange",
            type_name=type_name,
            prior_state=pack(prior),
            planned_state=pack(planned),
            config=pack(planned),
        )
        state: State | None = unpack(response.new_state)
        if planned is None:
            assert state is None
            return None
        assert state is not None
        assert set(state) == set(planned)
        for name, value in planned.items():
            assert holds(value, state[name]), f"{name} was planned as {value} and became {state[name]}"
            assert not is_unknown(state[name])
        return state

    def change(self, type_name: str, prior: State | None, given: Mapping[str, Any] | None) -> State | None:
        """Plan and apply, in two steps where the provider wants a new object."""
        planned = self.plan(type_name, prior, given)
        if planned.replace and prior is not None:
            self.apply(type_name, prior, None)
            prior, planned = None, self.plan(type_name, None, given)
        return self.apply(type_name, prior, planned.state)

    def read(self, type_name: str, state: State) -> State | None:
        response = self._call("ReadResource", type_name=type_name, current_state=pack(state))
        found: State | None = unpack(response.new_state)
        assert found is None or set(found) == set(state)
        return found

    def import_(self, type_name: str, identity: str) -> State:
        response = self._call("ImportResourceState", type_name=type_name, id=identity)
        [imported] = response.imported_resources
        state: State = unpack(imported.state)
        assert set(state) == set(self.attributes(type_name))
        return state

    def upgrade(self, type_name: str, version: int, old: Mapping[str, Any]) -> State:
        raw = {"json": json.dumps(old).encode()}
        response = self._call("UpgradeResourceState", type_name=type_name, version=version, raw_state=raw)
        state: State = unpack(response.upgraded_state)
        assert set(state) == set(self.attributes(type_name))
        return state

    def data(self, type_name: str, given: Mapping[str, Any]) -> State:
        config = self.config(type_name, given, data=True)
        self._call("ValidateDataResourceConfig", type_name=type_name, config=pack(config))
        response = self._call("ReadDataSource", type_name=type_name, config=pack(config))
        state: State = unpack(response.state)
        assert set(state) == set(self.attributes(type_name, data=True))
        return state

    def stop(self) -> None:
        self._send("StopProvider")


def whole(attribute: Any, value: Any) -> Any:
    """Return a value of a nested type with all of its fields."""
    fields = [field.name for field in attribute.nested_type.attributes]
    if not fields or value is None or is_unknown(value):
        return value
    if isinstance(value, list):
        return [item if is_unknown(item) else {name: item.get(name) for name in fields} for item in value]
    return {name: value.get(name) for name in fields}


def is_unknown(value: Any) -> bool:
    return isinstance(value, msgpack.ExtType)


def same(one: Any, other: Any) -> bool:
    """Compare values of the protocol; every way to be unknown is the same."""
    if is_unknown(one) or is_unknown(other):
        return is_unknown(one) and is_unknown(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other and type(one) is type(other))


def holds(planned: Any, real: Any) -> bool:
    """Say whether a real value is one that a plan, perhaps with unknown parts, has promised."""
    if is_unknown(planned):
        return True
    if isinstance(planned, Mapping) and isinstance(real, Mapping):
        return set(planned) == set(real) and all(holds(planned[key], real[key]) for key in planned)
    if isinstance(planned, list) and isinstance(real, list):
        return len(planned) == len(real) and all(map(holds, planned, real))
    return same(planned, real)


def path(found: Any) -> str:
    steps = []
    for step in found.steps:
        kind = step.WhichOneof("selector")
        steps.append(str(getattr(step, kind)))
    return ".".join(steps)


def pack(value: Any) -> Any:
    return {"msgpack": msgpack.packb(value)}


def unpack(value: Any) -> Any:
    return msgpack.unpackb(value.msgpack) if value.msgpack else None
