"""The plugin protocol, with what the `tf` framework leaves out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
from tf.provider import ProviderServicer
from tf.types import Unknown
from tf.utils import to_dynamic_value

from stoneware.provider.provider import StonewareProvider


class Servicer(ProviderServicer):  # type: ignore[misc]  # the framework has no type hints
    """The framework's servicer, with defaults in every plan and a say when Terraform wants to stop."""

    def __init__(self, provider: StonewareProvider, on_stop: Callable[[], None] | None = None) -> None:
        super().__init__(provider)
        self._on_stop = on_stop

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        """Plan with the defaults of attributes that the configuration leaves out.

        The framework applies defaults to new objects only. On an update Terraform proposes the old value
        for a computed attribute, so taking `restart = "always"` out of a configuration would do nothing.
        """
        config, proposed = _read(request.config), _read(request.proposed_new_state)
        if config is not None and proposed is not None:
            for name, attribute in self._get_res_attrs(request.type_name).items():
                if attribute.default is not Unknown and config.get(name) is None:
                    proposed[name] = attribute.type.encode(attribute.default)
            request = _with(request, "proposed_new_state", proposed)
        return super().PlanResourceChange(request, context)

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        """Check a resource's configuration."""
        return super().ValidateResourceConfig(_with(request, "config", _read(request.config)), context)

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        """Check a data source's configuration."""
        return super().ValidateDataResourceConfig(_with(request, "config", _read(request.config)), context)

    def StopProvider(self, request: Any, context: Any) -> Any:
        """Tell whoever is creating something that Terraform was interrupted."""
        if self._on_stop is not None:
            self._on_stop()
        return super().StopProvider(request, context)


def _read(value: Any) -> Any:
    """Decode a value. The framework lacks unknown values that have a refinement, such as not-null."""
    return msgpack.unpackb(value.msgpack, ext_hook=lambda _code, _data: Unknown) if value.msgpack else None


def _with(request: Any, field: str, value: Any) -> Any:
    changed = type(request)()
    changed.CopyFrom(request)
    getattr(changed, field).CopyFrom(to_dynamic_value(value))
    return changed
