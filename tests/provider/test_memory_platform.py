"""The platform in memory speaks the whole protocol."""

from __future__ import annotations

import inspect

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.model.machine import MachineSpec, Phase
from stoneware.model.resources import PortMapping
from stoneware.platforms.protocols import Platform

from .memory_platform import MemoryPlatform

METHODS = [name for name, value in vars(Platform).items() if inspect.isfunction(value) and name[0] != "_"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_protocols_parameters(name: str) -> None:
    wanted = inspect.signature(getattr(Platform, name)).parameters
    assert inspect.signature(getattr(MemoryPlatform, name)).parameters == wanted


def test_life_and_refusals() -> None:
    platform = MemoryPlatform()
    spec = MachineSpec("m1", "checkpoint:abc", ports=(PortMapping("0.0.0.0", 8080, 80),))
    assert platform.create(spec).phase is Phase.RUNNING
    with pytest.raises(InputError, match="name 'm1' is in use"):
        platform.create(spec)
    with pytest.raises(InputError, match="port 8080 is in use"):
        platform.create(MachineSpec("m2", "checkpoint:abc", ports=spec.ports))
    with pytest.raises(MachineError, match="still running"):
        platform.capture("m1", b"{}", {})
    platform.stop("m1")
    assert platform.capture("m1", b"{}", {}).startswith("sha256:44136fa3")
    assert platform.start("m1").exit_code is None
    platform.destroy("m1")
    platform.destroy("m1")
    assert platform.observe("m1") is None
    with pytest.raises(InputError, match="no machine 'm1'"):
        platform.set_metadata("m1", {})
