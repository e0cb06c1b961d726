"""Scenarios: data files that say what a cluster is like, what happens to it, and what has to come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stoneware.cluster.model import Release
from stoneware.platforms.cluster_files import FileLog
from stoneware.rollout.gates.availability import Partition
from stoneware.rollout.journal import Event, Journal
from stoneware.rollout.model import How, RolloutPlan
from stoneware.rollout.state import Mode, RolloutState, fold
from tests.rollout.simulation import (
    Behaviour,
    Killed,
    Recorder,
    ScriptedGate,
    SimClock,
    SimFleet,
    SimKafka,
    SimMachine,
    begin,
    make_engine,
    make_plan,
    policy_of,
)

DIRECTORY = Path(__file__).parent / "scenarios"
OLD, NEW = Release("old", "c1"), Release("new", "c1")
LIMIT = 100_000.0  # simulated seconds within which everything has to end


@dataclass
class World:
    """A scenario's simulation, its journal and its plan."""

    document: Mapping[str, Any]
    fleet: SimFleet
    journal: Journal
    plan: RolloutPlan

    def run(self, kill_after: int | None = None) -> tuple[RolloutState, Recorder]:
        """Begin the rollout, or go on with it, until it ends, pauses or is killed."""
        observer = Recorder(kill_after)
        state = fold(self.journal.of("r1")) or begin(self.journal, self.plan, self.fleet.clock.now)
        extra = [ScriptedGate(self.fleet)] if self.document.get("scripted_gate") else []
        engine = make_engine(
            self.fleet, self.journal, state, observer, extra=extra, yes=self.document.get("confirm", True)
        )
        try:
            state = engine.run()
            if state.mode is Mode.PAUSED and self._resumes():
                return self.run()
        except Killed:
            state = engine.state
        assert self.fleet.clock.now - self.fleet.began < LIMIT
        return state, observer

    def _resumes(self) -> bool:
        """Resume a rollout that has paused, once, after `resume_after` simulated seconds."""
        wait = self.document.get("resume_after")
        if wait is None or any(event.name == "resumed" for event in self.journal.of("r1")):
            return False
        self.fleet.clock.sleep(wait)
        self.release()
        return True

    def release(self) -> None:
        """Let a rollout that holds after its canary go on."""
        self.journal.append(Event(self.fleet.clock.now, "r1", "resumed", {"who": "test"}))


def scenarios() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all scenarios with a name for each."""
    for path in sorted(DIRECTORY.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            yield f"{path.stem}: {document['name']}", document


def make_world(document: Mapping[str, Any], directory: Path) -> World:
    """Return the simulation of a scenario."""
    clock = SimClock()
    count = document.get("machines", 3)
    names = [f"kafka-{slot}" for slot in range(1, count + 1)]
    behaviours = {key: Behaviour(**value) for key, value in document.get("releases", {}).items()}
    running = document.get("running", {})
    machines = {}
    for slot, name in enumerate(names, 1):
        image = running.get(name, "old")
        if image != "missing":
            behaviour = behaviours.get(image, Behaviour())
            machines[name] = SimMachine(name, slot, Release(image, "c1"), behaviour, 0, clock.now - 1000)
            if name in document.get("stopped", ()):
                machines[name].stopped = clock.now - 500
    fleet = SimFleet(
        clock,
        machines,
        behaviours,
        _kafka(document, count),
        script=[(event["at"], event) for event in document.get("events", ())],
        began=clock.now,
        stop_seconds=document.get("stop_seconds", 1.0),
    )
    changed = document.get("changes", names)
    missing = [name for name in changed if running.get(name) == "missing"]
    how = How(document.get("how", "replace"))
    new = Release("old", "c2") if how is How.RELOAD else NEW
    if "declares" in document:  # image and config stay: a secret, a limit, or another field is what changes
        new = Release("old", "c1", document["declares"])
    plan = make_plan(
        changed,
        OLD,
        new,
        policy_of(document.get("policy", {})),
        canary=document.get("canary", ()),
        missing=missing,
        how=how,
        insisted=document.get("insisted", False),
        everything=document.get("everything", ()),
    )
    return World(document, fleet, Journal(FileLog(directory / "rollouts.jsonl")), plan)


def _kafka(document: Mapping[str, Any], count: int) -> SimKafka | None:
    given = document.get("kafka")
    if given is None:
        return None
    own = dict(given)
    partitions = []
    for topic in own.pop("topics", [{"name": "t"}]):
        replicas = tuple(topic.get("replicas", range(1, min(count, 3) + 1)))
        isr = tuple(topic.get("isr", replicas))
        for number in range(topic.get("partitions", 1)):
            least = topic.get("min_isr", 2)
            partitions.append(Partition(topic["name"], number, replicas[0], replicas, isr, least))
    own.setdefault("voters", range(1, count + 1))
    return SimKafka(partitions, **{**own, "voters": tuple(own["voters"])})


def check(world: World, state: RolloutState, observer: Recorder) -> None:
    """Hold the end of a scenario against what its file expects."""
    expected = world.document["expect"]
    fleet = world.fleet
    outcome = str(state.outcome) if state.mode is Mode.ENDED else str(state.mode)
    assert outcome == expected["outcome"], f"{outcome}: {state.reason}"
    if "order" in expected:
        assert [step.partition("=")[0] for step in fleet.applied] == expected["order"]
    if "applied" in expected:
        assert fleet.applied == expected["applied"]
    for name, image in expected.get("final", {}).items():
        assert fleet.machines[name].release.image_id == image, name
    if "reason" in expected:
        assert expected["reason"] in state.reason
    for text in expected.get("waits", ()):
        seen = {str(event.fields.get("reason", "")) for event in observer.events if event.name == "gate"}
        assert any(text in reason for reason in seen), seen
    assert fleet.most_down <= expected.get("most_down", 1)
    assert fleet.faults == []
