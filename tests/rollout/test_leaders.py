"""Who leads: shown by a plan, told by gates, and no canary."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.model.machine import Health, Phase
from stoneware.rollout import leaders, registry
from stoneware.rollout.documents import planned_document
from stoneware.rollout.gate_protocol import CommandOutcome, GateContext, Leader
from stoneware.rollout.gatekeeper import Gatekeeper
from stoneware.rollout.gates.availability import KafkaView
from stoneware.rollout.gates.kafka import KafkaGate
from stoneware.rollout.gates.machine import MachineGate
from stoneware.rollout.leaders import with_leaders
from stoneware.rollout.model import MachineView
from stoneware.rollout.planner import Planned
from stoneware.ui.rollout import plan_text
from tests.rollout.scenario import NEW, OLD
from tests.rollout.simulation import make_plan, policy_of

pytestmark = pytest.mark.pure
NAMES = ["kafka-1", "kafka-2", "kafka-3"]


class LedGate(MachineGate):
    """A gate that knows who leads, or what is in the way of knowing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def leader(self, _context: GateContext) -> Leader | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Leader(self.answer, "leads the metadata quorum") if self.answer else None


class NoFleet:
    def __init__(self, *_: Any) -> None: ...
    def __enter__(self) -> NoFleet:
        return self

    def __exit__(self, *_: Any) -> None: ...
    def observe(self) -> dict[str, Any]:
        return {}

    def execute(self, *_: Any) -> Any: ...


def _led(
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    *,
    canary: Sequence[str] = (),
    insist: bool = False,
    names: Sequence[str] = NAMES,
) -> Planned:
    gate = LedGate(answer)
    monkeypatch.setattr(leaders, "ClusterFleet", NoFleet)
    monkeypatch.setattr(registry, "gatekeeper", lambda _: Gatekeeper({"kafka": [(gate, {})]}))
    policy = policy_of({})
    plan = make_plan(names, OLD, NEW, policy.__class__(gates=({"kafka": {}},)), canary=canary)
    return with_leaders(Planned(plan), None, insist=insist)  # type: ignore[arg-type]


def test_the_plan_shows_who_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = _led(monkeypatch, "kafka-2")
    assert "kafka-2 leads the metadata quorum: it goes last\n" in plan_text(planned)
    assert planned_document(planned)["leaders"] == {"kafka-2": "leads the metadata quorum"}
    assert "kafka-9 leads the metadata quorum: it does not change\n" in plan_text(
        _led(monkeypatch, "kafka-9")
    )


def test_a_leader_is_no_canary_unless_the_user_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="kafka-1 leads the metadata quorum") as raised:
        _led(monkeypatch, "kafka-1", canary=["kafka-1"])
    assert raised.value.resolution.splitlines() == [
        "stoneware rollout --canary kafka-2",
        "stoneware rollout --canary kafka-1 --canary-may-lead    # all the same",
    ]
    good = _led(monkeypatch, "kafka-1", canary=["kafka-2"])
    assert not good.plan.insisted
    planned = _led(monkeypatch, "kafka-1", canary=["kafka-1"], insist=True)
    assert planned.plan.insisted
    assert "kafka-1 leads the metadata quorum: it goes first, as the canary" in plan_text(planned)


def test_the_only_one_that_changes_may_be_the_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _led(monkeypatch, "kafka-1", canary=["kafka-1"], names=["kafka-1"]).leaders


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (MachineError("no broker answers", details="it is down"), "no broker answers; it is down"),
        (ValueError("what?"), "the gate machine failed: ValueError: what?"),
    ],
)
def test_what_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch, answer: Exception, note: str) -> None:
    planned = _led(monkeypatch, answer, canary=["kafka-1"])
    assert planned.notes == (f"who leads kafka is not known: {note}",)
    assert planned.leaders == ()
    assert _led(monkeypatch, None).notes == ()


def test_gates_without_a_leader_are_passed_over() -> None:
    assert not hasattr(MachineGate(), "leader")
    assert hasattr(KafkaGate(), "leader")


@pytest.mark.parametrize(("node", "leader"), [(2, "kafka-2"), (-1, None), (7, None)])
def test_the_leader_of_the_quorum_is_the_machine_of_its_node(node: int, leader: str | None) -> None:
    class Broker:
        def view(self) -> KafkaView:
            return KafkaView({}, (), node)

    views = {
        name: MachineView(name, "kafka", slot, name, Phase.RUNNING, Health.HEALTHY, NEW, checked=True)
        for slot, name in enumerate(NAMES, 1)
    }
    change = make_plan(NAMES, OLD, NEW, policy_of({})).change("kafka-1")
    context = GateContext(
        "test", views, change, lambda *_: CommandOutcome(0, ""), settings={"bootstrap": "127.0.0.1:9092"}
    )
    found = KafkaGate(lambda _: nullcontext(Broker())).leader(context)
    assert (found.machine if found else None) == leader
