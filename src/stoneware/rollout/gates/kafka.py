"""The gate of a Kafka cluster in KRaft mode: partitions stay available, and so does the metadata quorum."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from stoneware.errors import HostError, InputError
from stoneware.model.field_kinds import ANY_ADDRESS
from stoneware.rollout.gate_protocol import READY, GateContext, Leader, SettingError, Verdict, wait
from stoneware.rollout.gates.availability import (
    CAUGHT_UP_MS,
    KafkaView,
    caught_up,
    partition_faults,
    quorum_fault,
)

_HERE, _ANY = "127.0.0.1", ("", ANY_ADDRESS)  # where a port is reached that is published on all addresses
_SHOWN = 3  # partitions named in a sentence
_NUMBERS = {"port": (1, 65535), "first_id": (0, (1 << 31) - 1), "fetch_timeout_ms": (1, 3_600_000)}
_SERVER = re.compile(r"[^\s:/]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


class Client(Protocol):
    """A connection to the brokers."""

    def view(self) -> KafkaView:
        """Return the cluster as it is now. Raises whatever the client library raises."""
        ...


Connect = Callable[[str], AbstractContextManager[Client]]


class KafkaGate:
    """The brokers are the machines of the service; a slot is a node id, counted from `first_id` (1)."""

    name = "kafka"

    def __init__(self, connect: Connect | None = None) -> None:
        self._connect = connect

    def _view(self, context: GateContext) -> KafkaView:
        with (self._connect or _kafka_python)(bootstrap(context)) as client:
            return client.view()

    def before(self, machine: str, context: GateContext) -> Verdict:
        """Wait until the cluster can do without the broker."""
        view = self._view(context)
        node, down = _node(machine, context), [_node(name, context) for name in context.down]
        healthy = context.views[machine].healthy
        # Of an unhealthy broker nothing is lost: what others lack is no reason to leave it as it is.
        faults = [
            *(_missing(view, context, besides=[node, *down]) if healthy else ()),
            *filter(None, [quorum_fault(view, node, down, _within(context))]),
        ]
        if faults:
            return wait(faults[0])
        blocked = partition_faults(view.partitions, node, down)
        if blocked:
            # Progress is what grows: fewer partitions in the way are more of it.
            return wait(_several(blocked), progress=-float(len(blocked)))
        others = set(context.unfinished) - context.down - {machine}
        # Asked again for each machine: the leader may have become another one while the rollout went on.
        if healthy and node == view.leader and others & _brokers(context):
            return wait("it leads the metadata quorum, so it goes last")
        return READY

    def after(self, machine: str, context: GateContext) -> Verdict:
        """Wait until the broker is unfenced, in sync for all its partitions, and caught up as a voter."""
        view, node = self._view(context), _node(machine, context)
        # Registered is not enough: a fenced broker may neither lead nor join the replicas in sync.
        if view.brokers.get(node, True):
            return wait(f"broker {node} is {'fenced' if node in view.brokers else 'not registered'}")
        own = [item for item in view.partitions if node in item.replicas]
        behind = [item.name for item in own if node not in item.isr]
        if behind:
            reason = f"broker {node} catches up: {len(own) - len(behind)} of {len(own)} partitions in sync"
            return wait(reason, progress=float(len(own) - len(behind)))
        if node in view.voters and node not in caught_up(view, _within(context)):
            leader = view.voters.get(view.leader)
            lag = leader.log_end_offset - view.voters[node].log_end_offset if leader else 0
            return wait(f"voter {node} of the quorum is {lag} records behind", progress=-float(lag))
        return READY

    def order(self, machines: Sequence[str], context: GateContext) -> Sequence[str]:
        """Put the leader of the metadata quorum last."""
        # The quorum's, not the "controller" of DescribeCluster, which is any broker that lives.
        leader = self._view(context).leader
        return sorted(machines, key=lambda name: _node(name, context) == leader)

    def leader(self, context: GateContext) -> Leader | None:
        """Return the leader of the metadata quorum, where it is one of these machines."""
        node = self._view(context).leader
        found = [name for name in sorted(_brokers(context)) if _node(name, context) == node]
        return Leader(found[0], "leads the metadata quorum") if found else None


def _kafka_python(servers: str) -> AbstractContextManager[Client]:
    from stoneware.rollout.gates.kafka_client import connect

    return connect(servers)


def bootstrap(context: GateContext) -> str:
    """Return `host:port,…` of the brokers: the setting `bootstrap`, else the published ports of the machines.

    Raises InputError where neither is there.
    """
    given = context.settings.get("bootstrap")
    if given:
        return str(given) if isinstance(given, str) else ",".join(map(str, given))
    wanted = int(context.settings.get("port", 9092))
    found = [
        f"{_HERE if port.host_ip in _ANY else port.host_ip}:{port.host_port}"
        for name in sorted(_brokers(context))
        for port in context.views[name].ports
        if port.machine_port == wanted
    ]
    if not found:
        raise InputError(
            "no broker can be reached from here",
            details=f"no machine that runs publishes its port {wanted}",
            resolution="publish it in the file, or give the gate an address: `bootstrap: HOST:PORT`",
        )
    return ",".join(found)


def _brokers(context: GateContext) -> frozenset[str]:
    service = context.change.service
    return frozenset(name for name, view in context.views.items() if view.service == service)


# By the slot, as its disk: Kafka refuses to start where its config has another node id than the disk.
def _node(machine: str, context: GateContext) -> int:
    return context.views[machine].slot - 1 + int(context.settings.get("first_id", 1))


def _within(context: GateContext) -> int:
    return int(context.settings.get("fetch_timeout_ms", CAUGHT_UP_MS))


def _missing(view: KafkaView, context: GateContext, besides: Sequence[int]) -> list[str]:
    nodes = sorted(_node(name, context) for name in _brokers(context))
    absent = [node for node in nodes if node not in besides and view.brokers.get(node, True)]
    return [f"broker {node} is {'fenced' if node in view.brokers else 'not registered'}" for node in absent]


def _several(faults: Sequence[str]) -> str:
    more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return f"{'; '.join(faults[:_SHOWN])}{more}"


def settings_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of `- kafka: {…}`, checked. Raises InputError, or HostError without a client."""
    unknown = sorted(set(document) - {"bootstrap", *_NUMBERS})
    if unknown:
        raise SettingError(
            f"the kafka gate has no setting {unknown[0]!r}",
            unknown[0],
            details=f"It has: {', '.join(['bootstrap', *_NUMBERS])}.",
        )
    numbers = {name: _number(name, document[name]) for name in _NUMBERS if name in document}
    _check_servers(document.get("bootstrap") or [])
    if importlib.util.find_spec("kafka") is None:
        raise HostError(
            "the kafka gate needs the Python package kafka-python",
            resolution="pip install 'stoneware[kafka]'",
        )
    return {**document, **numbers}


def _number(name: str, value: Any) -> int:
    low, high = _NUMBERS[name]
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
    # A bool is an int in Python, and YAML has `true` for one.
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise SettingError(f"the kafka gate's {name} is a number from {low} to {high}, not {value!r}", name)
    return number


def _check_servers(given: Any) -> None:
    servers = given.split(",") if isinstance(given, str) else given
    right = isinstance(servers, list) and all(
        isinstance(server, str) and _SERVER.fullmatch(server.strip()) for server in servers
    )
    if not right:
        raise SettingError(f"the kafka gate's bootstrap is HOST:PORT, or several, not {given!r}", "bootstrap")
