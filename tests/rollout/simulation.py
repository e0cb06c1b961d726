"""A simulated cluster with a clock of its own, for running the rollout engine through scenarios."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stoneware.cluster.model import Release
from stoneware.compose.model import FailureAction, UpdateConfig
from stoneware.errors import MachineError
from stoneware.model.machine import Health, Phase
from stoneware.rollout.engine import Engine
from stoneware.rollout.gate_protocol import READY, CommandOutcome, Gate, GateContext, Verdict, stop
from stoneware.rollout.gatekeeper import Answer, Gatekeeper
from stoneware.rollout.gates.availability import KafkaView, Partition, Voter
from stoneware.rollout.gates.kafka import KafkaGate
from stoneware.rollout.gates.machine import MachineGate
from stoneware.rollout.journal import Event, Journal
from stoneware.rollout.model import Change, How, MachineView, Policy, RolloutPlan
from stoneware.rollout.state import RolloutState, fold, plan_document
from stoneware.terraform.guard import PlanRefused


class Killed(BaseException):
    """The driver was killed here."""


@dataclass
class SimClock:
    """Time that passes only when somebody sleeps."""

    now: float = 1_000_000.0
    set_by: float = 0.0  # seconds by which somebody has set the time of day

    def time(self) -> float:
        return self.now + self.set_by

    def ran(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@dataclass(frozen=True)
class Behaviour:
    """How machines of a release behave; times in seconds from the start of the machine."""

    boots: float = 1.0
    healthy: float = 2.0
    fails: str = ""  # the boot fails with this error
    refused: str = ""  # it cannot even be made
    never_healthy: bool = False
    crashes_after: float | None = None
    unhealthy_after: float | None = None
    stuck: bool = False  # a change leaves the old machine where it is
    checked: bool = True  # it has a health check
    wrong_release: bool = False  # it reports something else than it was made from


@dataclass
class SimMachine:
    """One machine as it is."""

    name: str
    slot: int
    release: Release
    behaviour: Behaviour
    serial: int = 0
    started: float = 0.0
    stopped: float | None = None
    phase: Phase | None = None  # None: follows from the time

    def view(self, now: float) -> MachineView:
        phase, health, error = self._state(now)
        said = phase is Phase.RUNNING
        release = Release("sha256:other", "") if self.behaviour.wrong_release else self.release
        return MachineView(
            name=self.name,
            service="kafka",
            slot=self.slot,
            id=f"{self.name}#{self.serial}",
            phase=phase,
            health=health,
            release=release if said else None,
            checked=self.behaviour.checked,
            error=error,
            created_from=self.release,
        )

    def _state(self, now: float) -> tuple[Phase, Health, str]:
        age, how = now - self.started, self.behaviour
        if self.stopped is not None:
            return Phase.STOPPED, Health.NONE, "exit code 137"
        if how.crashes_after is not None and age >= how.crashes_after:
            return Phase.FAILED, Health.NONE, "the service ended with exit code 1"
        if age < how.boots:
            return Phase.BOOTING, Health.NONE, ""
        if how.fails:
            return Phase.FAILED, Health.NONE, how.fails
        if how.never_healthy or (how.unhealthy_after is not None and age >= how.unhealthy_after):
            return Phase.RUNNING, Health.UNHEALTHY, ""
        return Phase.RUNNING, Health.HEALTHY if age >= how.healthy else Health.STARTING, ""


class Views(Mapping[str, MachineView]):
    """All machines at one moment, each looked at when somebody asks for it."""

    def __init__(self, machines: Mapping[str, SimMachine], now: float) -> None:
        self._machines = dict(machines)
        self._now = now
        self._seen: dict[str, MachineView] = {}

    def __getitem__(self, name: str) -> MachineView:
        if name not in self._seen:
            self._seen[name] = self._machines[name].view(self._now)
        return self._seen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._machines)

    def __len__(self) -> int:
        return len(self._machines)


@dataclass
class SimKafka:
    """Brokers on the simulated machines: who is in sync, who leads."""

    partitions: list[Partition]
    catch_up: float = 3.0  # seconds from healthy to in sync
    leader: int = 1
    voters: tuple[int, ...] = (1, 2, 3)
    behind: dict[int, int] = field(default_factory=dict)  # voter to milliseconds; -1: unknown
    error: str = ""
    no_leader: bool = False


@dataclass
class SimFleet:
    """The machines, and what happens to them at which time."""

    clock: SimClock
    machines: dict[str, SimMachine]
    behaviours: Mapping[str, Behaviour]  # by image id
    kafka: SimKafka | None = None
    stop_seconds: float = 1.0
    apply_seconds: float = 0.5
    script: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)
    refuse: str = ""
    down_by_us: set[str] = field(default_factory=set)
    most_down: int = 0
    serial: int = 0
    began: float = 0.0
    requests: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    gate_error: str = ""

    def observe(self) -> Mapping[str, MachineView]:
        self._play()
        return Views(self.machines, self.clock.now)

    def check(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self._play()
        if self.refuse:
            raise PlanRefused((self.refuse,))

    def stop(self, machines: Sequence[str]) -> None:
        self._play()
        self._take_down(machines)
        self.clock.sleep(self.stop_seconds)
        for name in machines:
            if name in self.machines and self.machines[name].stopped is None:
                self.machines[name].stopped = self.clock.now

    def change(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self._play()
        if self.refuse:
            raise PlanRefused((self.refuse,))
        for name, entry in entries.items():
            release = Release(entry["image"], entry["config"], entry.get("declared", ""))
            behaviour = self.behaviours.get(release.image_id, Behaviour())
            if behaviour.refused:
                raise MachineError(behaviour.refused)
            self._put(name, release, behaviour)
        self.clock.sleep(self.apply_seconds)

    def _put(self, name: str, release: Release, behaviour: Behaviour) -> None:
        old = self.machines.get(name)
        if old is not None and old.release == release and old.stopped is None:
            return  # Terraform finds it as it should be
        if behaviour.stuck and old is not None:
            old.stopped = None
            return
        self.serial += 1
        slot = old.slot if old else int(name.rpartition("-")[2])
        self.machines[name] = SimMachine(name, slot, release, behaviour, self.serial, self.clock.now)
        self.applied.append(f"{name}={release.image_id}{release.declared}")

    def _take_down(self, machines: Sequence[str]) -> None:
        """Look whether the cluster could do without the machines that are being taken down."""
        views = {name: machine.view(self.clock.now) for name, machine in self.machines.items()}
        ours = {name for name in machines if name in views and views[name].alive}
        self.most_down = max(self.most_down, len(ours))
        if self.kafka is None:
            return
        nodes = {views[name].slot for name in ours if views[name].healthy}
        view = self.kafka_view()
        for partition in view.partitions:
            least, alive = partition.min_isr or 0, set(partition.isr)
            possible = len(partition.replicas) > least
            if possible and len(alive) >= least > len(alive - nodes):
                self.faults.append(f"{partition.name} fell below {least} because of {sorted(nodes)}")
        voters = set(view.voters)
        live = {views[name].slot for name in views if views[name].healthy} & voters
        majority = len(voters) // 2 + 1
        if len(voters) > 2 and len(live) >= majority > len(live - nodes):
            self.faults.append(f"the quorum was lost because of {sorted(nodes)}")

    def _play(self) -> None:
        while self.script and self.clock.now - self.began >= self.script[0][0]:
            _, event = self.script.pop(0)
            self._happen(event)

    def _happen(self, event: Mapping[str, Any]) -> None:
        now = self.clock.now
        if name := event.get("kill"):
            self.machines[name].stopped = now
        if name := event.get("remove"):
            self.machines.pop(name, None)
        if name := event.get("start"):
            self.machines[name].stopped, self.machines[name].started = None, now
        if "request" in event:
            self.requests.append(event["request"])
        if "set_clock" in event:
            self.clock.set_by += event["set_clock"]
        if "refuse" in event:
            self.refuse = event["refuse"]
        if "gate_error" in event:
            self.gate_error = event["gate_error"]
        for key in ("leader", "behind", "error", "no_leader", "catch_up"):
            if self.kafka is not None and key in event:
                setattr(self.kafka, key, event[key])

    # -- Kafka ---------------------------------------------------------------------------------------------

    def kafka_view(self) -> KafkaView:
        assert self.kafka is not None
        now, kafka = self.clock.now, self.kafka
        views = {machine.slot: machine.view(now) for machine in self.machines.values()}
        healthy = {slot for slot, view in views.items() if view.healthy}
        synced = {
            machine.slot
            for machine in self.machines.values()
            if machine.slot in healthy
            and (machine.serial == 0 or now >= machine.started + machine.behaviour.healthy + kafka.catch_up)
        }
        if kafka.leader not in healthy and healthy & set(kafka.voters):
            kafka.leader = min(healthy & set(kafka.voters))
        partitions = tuple(
            Partition(
                item.topic,
                item.number,
                next((broker for broker in item.replicas if broker in synced), -1),
                item.replicas,
                tuple(broker for broker in item.isr if broker in synced),
                item.min_isr,
            )
            for item in kafka.partitions
        )
        stamp = int(now * 1000)
        voters = {node: Voter(node, self._caught_up(node, stamp, synced), 1000) for node in kafka.voters}
        leader = -1 if kafka.no_leader or not healthy else kafka.leader
        return KafkaView({slot: slot not in healthy for slot in views}, partitions, leader, voters)

    def _caught_up(self, node: int, stamp: int, synced: set[int]) -> int:
        assert self.kafka is not None
        behind = self.kafka.behind.get(node, 0 if node in synced else 60_000)
        return -1 if behind < 0 else stamp - behind

    @contextlib.contextmanager
    def connect(self, _servers: str) -> Iterator[SimFleet]:
        if self.kafka is not None and self.kafka.error:
            raise ConnectionError(self.kafka.error)
        yield self

    def view(self) -> KafkaView:
        return self.kafka_view()


@dataclass
class SimControl:
    """What people ask: the fleet's script holds it."""

    fleet: SimFleet
    yes: bool = True
    asked: int = 0

    def request(self) -> str:
        self.fleet._play()
        return self.fleet.requests.pop(0) if self.fleet.requests else ""

    def asker(self) -> str:
        return "somebody"

    def confirm_canary(self, machines: Sequence[str]) -> bool:
        self.asked += 1
        return self.yes


@dataclass
class ScriptedGate:
    """A gate that fails as the script says."""

    fleet: SimFleet
    name: str = "scripted"

    def _verdict(self) -> Verdict:
        if self.fleet.gate_error == "hang":
            raise TimeoutError
        if self.fleet.gate_error == "nonsense":
            return "yes"  # type: ignore[return-value]
        if self.fleet.gate_error == "stop":
            return stop("it says stop")
        if self.fleet.gate_error:
            raise RuntimeError(self.fleet.gate_error)
        return READY

    def before(self, machine: str, context: GateContext) -> Verdict:
        return self._verdict()

    def after(self, machine: str, context: GateContext) -> Verdict:
        return self._verdict()

    def order(self, machines: Sequence[str], context: GateContext) -> Sequence[str]:
        return machines


class Recorder:
    """An observer that keeps what it is shown, and kills the driver where it is told to."""

    def __init__(self, kill_after: int | None = None) -> None:
        self.events: list[Event] = []
        self.waits: list[Answer] = []
        self._kill_after = kill_after

    def event(self, event: Event, state: RolloutState) -> None:
        self.events.append(event)
        if self._kill_after is not None and len(self.events) >= self._kill_after:
            raise Killed

    def waiting(self, machines: Sequence[str], answer: Answer, elapsed: float, limit: float) -> None:
        self.waits.append(answer)


def direct(question: Any, _seconds: float) -> Any:
    """Ask without a thread: simulated gates say themselves that they hang."""
    return question()


def make_engine(
    fleet: SimFleet,
    journal: Journal,
    state: RolloutState,
    observer: Recorder,
    *,
    extra: Sequence[Gate] = (),
    yes: bool = True,
    poll: float = 0.5,
) -> Engine:
    """Return an engine over the simulation."""
    gates: list[tuple[Gate, Mapping[str, Any]]] = [(MachineGate(), {})]
    if fleet.kafka is not None:
        gates.append((KafkaGate(fleet.connect), {"bootstrap": "simulated"}))
    gates += [(gate, {}) for gate in extra]
    return Engine(
        state=state,
        fleet=fleet,
        journal=journal,
        gates=Gatekeeper({"kafka": gates}, call=direct),
        clock=fleet.clock,
        control=SimControl(fleet, yes),
        observer=observer,
        execute=lambda *_: CommandOutcome(0, ""),
        poll=poll,
    )


def begin(journal: Journal, plan: RolloutPlan, time: float, rollout: str = "r1") -> RolloutState:
    """Write the first line and return the state it makes."""
    journal.append(Event(time, rollout, "begin", {"plan": plan_document(plan), "who": "test"}))
    state = fold(journal.of(rollout))
    assert state is not None
    return state


def make_plan(
    names: Sequence[str],
    old: Release,
    new: Release,
    policy: Policy,
    *,
    canary: Sequence[str] = (),
    missing: Sequence[str] = (),
    how: How = How.REPLACE,
    insisted: bool = False,
    everything: Sequence[str] = (),
) -> RolloutPlan:
    """Return the plan that takes all named machines from one release to another."""
    changes = tuple(
        Change(
            name,
            "kafka",
            None if name in missing else old,
            new,
            how,
            ("image changed",),
            None if name in missing else _entry(old),
            _entry(new),
        )
        for name in names
    )
    return RolloutPlan(
        "test", changes, {"kafka": policy}, tuple(canary), insisted, tuple(everything or names)
    )


def _entry(release: Release) -> dict[str, str]:
    return {"image": release.image_id, "config": release.config_digest, "declared": release.declared}


def policy_of(document: Mapping[str, Any]) -> Policy:
    """Return the policy of a scenario: the keys of UpdateConfig, `rollback` and `gate_timeout`."""
    own = dict(document)
    rollback = own.pop("rollback", {})
    timeout = own.pop("gate_timeout", 60.0)
    return Policy(_config(own), _config(rollback), gate_timeout=timeout)


def _config(document: dict[str, Any]) -> UpdateConfig:
    action = FailureAction(document.pop("failure_action", "pause"))
    return UpdateConfig(**document, failure_action=action)
