"""A journal of several rollouts as rows, tables and documents."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.platforms.cluster_files import FileLog
from stoneware.rollout.documents import history_document, status_document
from stoneware.rollout.history import RolloutHistory, history, under_way
from stoneware.rollout.journal import Event, Journal
from stoneware.rollout.lock import RolloutLock
from stoneware.ui.rollout import history_text, status_text
from tests.rollout.scenario import NEW, OLD
from tests.rollout.simulation import (
    Behaviour,
    Recorder,
    SimClock,
    SimFleet,
    begin,
    make_engine,
    make_plan,
    policy_of,
)
from tests.rollout.simulation import SimMachine as Machine


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Return the journal of a rollout that was completed, one that went back, and one that is under way."""
    clock = SimClock()
    machines = {f"kafka-{n}": Machine(f"kafka-{n}", n, OLD, Behaviour(), 0, clock.now - 100) for n in (1, 2)}
    fleet = SimFleet(clock, machines, {"bad": Behaviour(fails="no disk")}, began=clock.now)
    journal = Journal(FileLog(tmp_path / "rollouts.jsonl"))
    bad = type(NEW)("bad", "c1")
    for rollout, old, new in (("r1", OLD, NEW), ("r2", NEW, bad)):
        policy = policy_of({"monitor": 1, "failure_action": "rollback", "rollback": {"monitor": 1}})
        plan = make_plan(sorted(machines), old, new, policy)
        state = begin(journal, plan, clock.now, rollout)
        make_engine(fleet, journal, state, Recorder()).run()
        clock.sleep(50)
    begin(journal, make_plan(sorted(machines), NEW, OLD, policy), clock.now, "r3")
    event = {"machines": ["kafka-1"], "gate": "machine", "reason": "kafka-2 is starting"}
    journal.append(Event(clock.now + 5, "r3", "gate", event))
    return journal


def rows(journal: Journal) -> list[RolloutHistory]:
    events = journal.read()
    return history(events, events[-1].time + 4)


def test_rows(journal: Journal) -> None:
    first, second, third = rows(journal)
    assert [row.id for row in (first, second, third)] == ["r1", "r2", "r3"]
    assert [row.outcome for row in (first, second, third)] == ["completed", "rolled back", "running"]
    assert [under_way(row) for row in (first, second, third)] == [False, False, True]
    assert first.ended is not None
    assert first.seconds == first.ended - first.started
    assert [machine.result for machine in first.machines] == ["done", "done"]
    assert first.machines[0].seconds["applying"] == 0.5
    assert first.machines[0].seconds["monitoring"] >= 1
    assert [machine.result for machine in second.machines] == ["returned", "pending"]
    assert "no disk" in second.machines[0].failure
    assert "no disk" in second.reason
    assert (third.seconds, third.waited) == (9.0, 4.0)
    assert first.who == "test"


def test_a_clock_that_was_set_back_makes_no_time_negative(journal: Journal) -> None:
    events = [replace(event, time=-event.time) for event in journal.read()]
    for row in history(events, events[-1].time - 4):
        assert row.seconds >= 0
        assert row.waited >= 0
        assert all(seconds >= 0 for machine in row.machines for seconds in machine.seconds.values())


def test_a_journal_with_nothing_in_it() -> None:
    assert history([], 0.0) == []
    assert history([Event(1.0, "r1", "note", {"text": "torn away"})], 2.0) == []


def test_what_is_shown(journal: Journal) -> None:
    found = rows(journal)
    lines = history_text(found).splitlines()
    assert lines[0].split()[:2] == ["ROLLOUT", "KIND"]
    assert [line.split()[0] for line in lines[1:]] == ["r3", "r2", "r1"]
    assert "rolled back" in lines[2]
    text = status_text(found[2], None)
    assert "r3: running" in text
    assert "machine: kafka-2 is starting" in text
    gone = RolloutLock("r3", "test", "here", 0, "2026-01-01 00:00:00+00:00", alive=False)
    assert status_text(found[2], gone).startswith("r3: interrupted; `stoneware rollout resume`")
    assert "returned" in status_text(found[1], None)
    assert "no disk" in status_text(found[1], None)


def test_documents(journal: Journal) -> None:
    document = json.loads(json.dumps(history_document("test", rows(journal))))
    assert [row["outcome"] for row in document["rollouts"]] == ["completed", "rolled back", "running"]
    machine = document["rollouts"][0]["machines"][0]
    assert machine["before"]["image_id"] == OLD.image_id
    assert machine["after"]["image_id"] == NEW.image_id
    assert machine["result"] == "done"
    assert document["rollouts"][2]["ended"] is None
    assert document["rollouts"][2]["waits"][0]["seconds"] == 4.0
    assert status_document("test", None, None) == {
        "schema": 1,
        "cluster": "test",
        "rollout": None,
        "driver": None,
    }
