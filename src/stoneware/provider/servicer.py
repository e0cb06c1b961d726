"""The plugin protocol, with what the `tf` framework leaves out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf.gen import tfplugin_pb2 as pb
from tf.provider import ProviderServicer
from tf.types import Unknown
from tf.utils import read_dynamic_value, to_dynamic_value

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
        config = read_dynamic_value(request.config)
        proposed = read_dynamic_value(request.proposed_new_state)
        if config is None or proposed is None:
            return super().PlanResourceChange(request, context)
        for name, attribute in self._get_res_attrs(request.type_name).items():
            if attribute.default is not Unknown and config.get(name) is None:
                proposed[name] = attribute.type.encode(attribute.default)
        changed = pb.PlanResourceChange.Request()
        changed.CopyFrom(request)
        changed.proposed_new_state.CopyFrom(to_dynamic_value(proposed))
        return super().PlanResourceChange(changed, context)

    def StopProvider(self, request: Any, context: Any) -> Any:
        """Tell whoever is creating something that Terraform was interrupted."""
        if self._on_stop is not None:
            self._on_stop()
        return super().StopProvider(request, context)
