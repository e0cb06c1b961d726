"""Where the Kafka gate finds the brokers: at their published ports, wherever these are published."""

from __future__ import annotations

import pytest

from stoneware.cluster.model import Release
from stoneware.errors import InputError
from stoneware.model.machine import Health, Phase
from stoneware.model.resources import PortMapping
from stoneware.rollout.gate_protocol import CommandOutcome, GateContext
from stoneware.rollout.gates.kafka import bootstrap
from stoneware.rollout.model import Change, How, MachineView

pytestmark = pytest.mark.pure
RELEASE = Release("sha256:a", "sha256:b")


def _view(name: str, slot: int, *ports: PortMapping) -> MachineView:
    return MachineView(
        name, "kafka", slot, "m1", Phase.RUNNING, Health.HEALTHY, RELEASE, checked=True, ports=ports
    )


def _context(*views: MachineView) -> GateContext:
    change = Change("kafka-1", "kafka", None, RELEASE, next(iter(How)), (), None, {})
    by_name = {view.name: view for view in views}
    return GateContext("test", by_name, change, lambda *_: CommandOutcome(0, ""))


def test_a_port_is_reached_where_it_is_published() -> None:
    views = (
        _view("kafka-1", 1, PortMapping("0.0.0.0", 9091, 9092), PortMapping("0.0.0.0", 7, 9999)),
        _view("kafka-2", 2, PortMapping("127.0.0.1", 9093, 9092)),
        _view("kafka-3", 3, PortMapping("10.128.0.4", 9092, 9092)),  # its own, as on Compute Engine
        _view("kafka-4", 4, PortMapping("", 9094, 9092)),
    )
    assert bootstrap(_context(*views)) == "127.0.0.1:9091,127.0.0.1:9093,10.128.0.4:9092,127.0.0.1:9094"


def test_brokers_without_a_port_are_told() -> None:
    with pytest.raises(InputError, match="no broker can be reached"):
        bootstrap(_context(_view("kafka-1", 1)))
