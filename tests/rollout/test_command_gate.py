"""The gate of a user's command: where it runs, and what its exit codes mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stoneware.cluster.model import Release
from stoneware.model.machine import Health, Phase
from stoneware.rollout.gate_protocol import CommandOutcome, GateContext, Kind, SettingError
from stoneware.rollout.gates.command import CommandGate, settings_of
from stoneware.rollout.model import Change, How, MachineView

OLD, NEW = Release("old", "c"), Release("new", "c")


@dataclass
class Machines:
    """What is run where, and what it comes to."""

    outcomes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    calls: list[tuple[str, tuple[str, ...], float]] = field(default_factory=list)

    def execute(self, machine: str, argv: Sequence[str], seconds: float) -> CommandOutcome:
        self.calls.append((machine, tuple(argv), seconds))
        return CommandOutcome(*self.outcomes.get(machine, (0, "")))


def view(name: str, phase: Phase = Phase.RUNNING, health: Health = Health.HEALTHY) -> MachineView:
    service, _, slot = name.rpartition("-")
    return MachineView(name, service, int(slot), f"id-{name}", phase, health, OLD, checked=True)


def context(machines: Machines, settings: dict[str, Any], *views: MachineView, **more: Any) -> GateContext:
    change = Change("app-1", "app", OLD, NEW, How.REPLACE, ("image",), {}, {})
    known = views or (view("app-1"), view("app-2"), view("db-1"))
    return GateContext(
        "shop",
        {item.name: item for item in known},
        change,
        machines.execute,
        settings=settings_of({"exec": ["check"], **settings}),
        **more,
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [(0, Kind.READY), (1, Kind.WAIT), (75, Kind.WAIT), (124, Kind.WAIT), (126, Kind.STOP), (127, Kind.STOP)],
)
def test_exit_codes(code: int, kind: Kind) -> None:
    machines = Machines({"app-1": (code, "first\nlast words\n\n")})
    verdict = CommandGate().before("app-1", context(machines, {}))
    assert verdict.kind is kind
    if kind is not Kind.READY:
        assert "last words" in verdict.reason
        assert "app-1" in verdict.reason
    if kind is Kind.WAIT:
        assert f"exit code {code}" in verdict.reason


@pytest.mark.parametrize(
    ("where", "asked"),
    [("self", ["app-1"]), ("each", ["app-1", "app-2"]), ("db-1", ["db-1"])],
)
def test_where_it_runs(where: str, asked: list[str]) -> None:
    machines = Machines()
    CommandGate().after("app-1", context(machines, {"in": where, "timeout": "5s"}))
    assert sorted(machine for machine, _, _ in machines.calls) == asked
    _, argv, seconds = machines.calls[0]
    assert argv == ("/usr/bin/env", "STONEWARE_GATE=after", "STONEWARE_GATE_MACHINE=app-1", "check")
    assert seconds == 5.0


def test_an_ill_machine_is_not_asked_whether_it_may_go() -> None:
    machines = Machines({"app-1": (1, "")})
    ill = view("app-1", health=Health.UNHEALTHY)
    gate = CommandGate()
    assert gate.before("app-1", context(machines, {}, ill)).ready
    assert gate.before("app-1", context(machines, {"in": "each"}, ill, view("app-2"))).ready
    assert [machine for machine, _, _ in machines.calls] == ["app-2"]
    assert not gate.after("app-1", context(machines, {}, ill)).ready


def test_a_machine_that_returns_is_not_asked_whether_it_may_go() -> None:
    machines = Machines({"app-1": (1, "")})
    assert CommandGate().before("app-1", context(machines, {}, returning=True)).ready


def test_a_machine_that_does_not_run_is_waited_for() -> None:
    machines = Machines()
    verdict = CommandGate().after(
        "app-1", context(machines, {"in": "db-1"}, view("app-1"), view("db-1", Phase.STOPPED))
    )
    assert verdict.kind is Kind.WAIT
    assert "db-1 does not run" in verdict.reason
    assert machines.calls == []


@pytest.mark.parametrize("timeout", [True, None, ["30s"], {}])
def test_a_timeout_that_is_no_duration(timeout: object) -> None:
    with pytest.raises(SettingError, match="is a duration such as 30s"):
        settings_of({"exec": "check", "timeout": timeout})


def test_the_longest_timeout_is_an_hour() -> None:
    assert settings_of({"exec": "check", "timeout": 3600})["timeout"] == 3600
    for timeout in (0, 3601):
        with pytest.raises(SettingError, match="between a moment and an hour"):
            settings_of({"exec": "check", "timeout": timeout})


def test_the_order_is_left_as_it_is() -> None:
    assert CommandGate().order(["b", "a"], context(Machines(), {})) == ["b", "a"]
