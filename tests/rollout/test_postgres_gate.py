"""The PostgreSQL gate, over servers that answer as psql does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.model import Release
from stoneware.errors import MachineError
from stoneware.model.machine import Health, Phase
from stoneware.rollout.gate_protocol import CommandOutcome, GateContext, Kind
from stoneware.rollout.gates.postgres import PostgresGate, Server, parse_lsn, parse_server, settings_of
from stoneware.rollout.model import Change, How, MachineView

pytestmark = pytest.mark.pure
ROOT = Path(__file__).parents[2]
PRIMARY, FOLLOWING, ALONE = "f|0/3000148|0\n", "t|0/3000148|1\n", "t|0/3000100|0\n"
FAR_BEHIND = "t|0/1000000|1\n"
RELEASE = Release("new", "c1")


def _view(name: str, health: Health = Health.HEALTHY) -> MachineView:
    service, _, slot = name.rpartition("-")
    return MachineView(name, service, int(slot), name, Phase.RUNNING, health, RELEASE, checked=True)


def _context(machine: str, answers: Mapping[str, str], **more: Any) -> GateContext:
    ran: list[Sequence[str]] = []

    def execute(name: str, argv: Sequence[str], _seconds: float) -> CommandOutcome:
        ran.append(argv)
        if "psql" not in argv and "/etc/stoneware/commands/state" not in argv:
            return CommandOutcome(more.get("switchover_code", 0), "switched")
        answer = answers[name]
        return CommandOutcome(0, answer) if "|" in answer else CommandOutcome(2, answer)

    views = {name: _view(name) for name in answers} | more.pop("views", {})
    change = Change(machine, views[machine].service, None, RELEASE, How.REPLACE, (), None, {})
    fields = {key: value for key, value in more.items() if key != "switchover_code"}
    return GateContext("test", views, change, execute, RELEASE, **fields)


@pytest.mark.parametrize(
    ("text", "position"),
    [("0/0", 0), ("0/3000148", 0x3000148), ("16/B374D848", (0x16 << 32) + 0xB374D848), ("", 0)],
)
def test_positions_are_bytes(text: str, position: int) -> None:
    assert parse_lsn(text) == position


def test_what_psql_prints_is_a_server() -> None:
    assert parse_server(FOLLOWING) == Server(replica=True, position=0x3000148, streaming=True)
    with pytest.raises(ValueError, match="unpack"):
        parse_server("psql: error")


@pytest.mark.parametrize(
    ("answers", "machine", "kind", "words"),
    [
        ({"primary-1": PRIMARY, "replica-1": FOLLOWING}, "replica-1", Kind.READY, ""),
        ({"primary-1": PRIMARY, "replica-1": FOLLOWING}, "primary-1", Kind.READY, ""),
        ({"primary-1": PRIMARY, "replica-1": ALONE}, "primary-1", Kind.WAIT, "does not stream"),
        ({"primary-1": PRIMARY, "replica-1": ALONE}, "replica-1", Kind.READY, ""),
        ({"primary-1": PRIMARY, "replica-1": FAR_BEHIND}, "primary-1", Kind.WAIT, "bytes behind primary-1"),
        (
            {"primary-1": PRIMARY, "replica-1": FOLLOWING, "replica-2": ALONE},
            "replica-1",
            Kind.WAIT,
            "replica-2",
        ),
        ({"primary-1": ALONE, "replica-1": ALONE}, "replica-1", Kind.WAIT, "no server is the primary"),
        ({"primary-1": PRIMARY, "replica-1": PRIMARY}, "replica-1", Kind.WAIT, "all primaries"),
        ({"primary-1": PRIMARY}, "primary-1", Kind.READY, ""),
    ],
)
def test_a_server_goes_down_only_when_the_others_can_do_without(
    answers: dict[str, str], machine: str, kind: Kind, words: str
) -> None:
    verdict = PostgresGate().before(machine, _context(machine, answers))
    assert verdict.kind is kind
    assert words in verdict.reason


def test_the_primary_goes_last() -> None:
    answers = {"db-1": PRIMARY, "db-2": FOLLOWING, "db-3": FOLLOWING}
    context = _context("db-1", answers, unfinished=("db-1", "db-2"))
    assert PostgresGate().before("db-1", context).reason == "it is the primary, so it goes last"
    assert PostgresGate().order(["db-1", "db-2", "db-3"], context) == ["db-2", "db-3", "db-1"]


def test_the_primary_may_be_switched_over_first() -> None:
    answers = {"db-1": PRIMARY, "db-2": FOLLOWING}
    settings = {"switchover": ["pg_ctl", "promote"]}
    verdict = PostgresGate().before("db-1", _context("db-1", answers, settings=settings))
    assert verdict.reason == "the switchover is under way"
    failed = _context("db-1", answers, settings=settings, switchover_code=3)
    assert PostgresGate().before("db-1", failed).kind is Kind.STOP


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(FOLLOWING, Kind.READY), (ALONE, Kind.WAIT), (FAR_BEHIND, Kind.WAIT)],
)
def test_a_replica_is_back_when_it_follows(answer: str, kind: Kind) -> None:
    context = _context("replica-1", {"primary-1": PRIMARY, "replica-1": answer})
    assert PostgresGate().after("replica-1", context).kind is kind
    assert PostgresGate().after("primary-1", context).kind is Kind.READY


def test_lag_that_shrinks_is_progress() -> None:
    def progress(answer: str) -> float | None:
        context = _context("replica-1", {"primary-1": PRIMARY, "replica-1": answer})
        return PostgresGate().after("replica-1", context).progress

    further, near = progress(FAR_BEHIND), progress("t|0/1900000|1")
    assert further is not None
    assert near is not None
    assert near > further


def test_a_server_that_does_not_answer_is_named() -> None:
    context = _context("replica-1", {"primary-1": "could not connect", "replica-1": FOLLOWING})
    with pytest.raises(MachineError, match="primary-1 does not answer: could not connect"):
        PostgresGate().before("replica-1", context)


def test_an_ill_server_may_go() -> None:
    views = {"replica-1": _view("replica-1", Health.UNHEALTHY)}
    context = _context("replica-1", {"primary-1": PRIMARY, "replica-1": "down"}, views=views)
    assert PostgresGate().before("replica-1", context).ready


@pytest.mark.parametrize("command", ["/etc/stoneware/commands/state", ["/etc/stoneware/commands/state"]])
def test_a_command_of_the_image_may_answer_in_the_place_of_psql(command: Any) -> None:
    answers = {"primary-1": PRIMARY, "replica-1": FAR_BEHIND}
    context = _context("primary-1", answers, settings=settings_of({"command": command}))
    assert PostgresGate().before("primary-1", context).kind is Kind.WAIT
    assert PostgresGate().after("primary-1", context).ready
    assert PostgresGate.commands(context.settings) == [["/etc/stoneware/commands/state"]]


def test_the_example_answers_what_the_gate_asks() -> None:
    script = (ROOT / "examples/postgres/postgres-state").read_text()
    for part in (
        "pg_is_in_recovery()",
        "pg_last_wal_replay_lsn()",
        "pg_current_wal_lsn()",
        "pg_stat_wal_receiver",
    ):
        assert part in script
    [asked] = PostgresGate.commands({})
    assert " ".join(asked[-1].split()) in " ".join(script.split())


def test_the_primary_is_the_leader() -> None:
    gate = PostgresGate()
    found = gate.leader(_context("pg-1", {"pg-1": FOLLOWING, "pg-2": PRIMARY}))
    assert found is not None
    assert (found.machine, found.words) == ("pg-2", "is the primary")
    assert gate.leader(_context("pg-1", {"pg-1": PRIMARY, "pg-2": PRIMARY})) is None
