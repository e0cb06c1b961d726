"""The engine: takes a rollout from where its journal is to its end, one decision after the other.

Every decision is in the journal before it is acted on, and every act may be repeated. So the
next engine over the same journal continues where the last one was, however that ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from stoneware.compose.model import FailureAction
from stoneware.dataclass import dataclass
from stoneware.errors import HostError, StonewareError
from stoneware.platforms.waiting import SETTLE
from stoneware.rollout.chooser import Chooser
from stoneware.rollout.control import asked_by
from stoneware.rollout.fleet import Clock, Control, Fleet
from stoneware.rollout.gate_protocol import CommandOutcome, Kind, stop, wait
from stoneware.rollout.gatekeeper import ALL_READY, Answer, Gatekeeper
from stoneware.rollout.gates.machine import condition
from stoneware.rollout.journal import Event, Journal
from stoneware.rollout.model import Direction, How, MachineView
from stoneware.rollout.state import Mode, Outcome, RolloutState, Stage, advance
from stoneware.terraform.guard import PlanRefused

POLL = 0.5  # seconds between two looks at the cluster


class Observer(Protocol):
    """Shows a rollout while it runs."""

    def event(self, event: Event, state: RolloutState) -> None:
        """Show a line of the journal, just written."""
        ...

    def waiting(self, machines: Sequence[str], answer: Answer, elapsed: float, limit: float) -> None:
        """Show what is waited for: the gate, its reason, for how long, and when it is given up (seconds)."""
        ...


@dataclass
class Engine:
    """One run of a rollout. `state` is always the fold of the journal."""

    state: RolloutState
    fleet: Fleet
    journal: Journal
    gates: Gatekeeper
    clock: Clock
    control: Control
    observer: Observer
    execute: Callable[[str, Sequence[str], float], CommandOutcome]
    poll: float = POLL
    _asked: str = ""
    _done: dict[str, float] = field(default_factory=dict)  # when this process saw a machine done

    def run(self) -> RolloutState:
        """Continue until the rollout has ended, is paused or holds; return its state then."""
        while self.state.mode is Mode.RUNNING:
            # A batch is always finished first: no request leaves a machine half replaced.
            if self.state.batch:
                self._work(self.state.batch)
            elif not self._obey():
                self._next()
        return self.state

    @property
    def _chooser(self) -> Chooser:
        return Chooser(self.state, self.gates, self.execute)

    # -- the journal ---------------------------------------------------------------------------------------

    def _record(self, name: str, **fields: Any) -> None:
        event = Event(self.clock.time(), self.state.id, name, fields)
        # First: with a full disk this raises, and nothing is done that is not written.
        self.journal.append(event)
        self.state = advance(self.state, event)
        if name == "done":
            self._done.update(dict.fromkeys(fields["machines"], self.clock.ran()))
        self.observer.event(event, self.state)

    # -- what people ask -----------------------------------------------------------------------------------

    def _request(self) -> str:
        # Reading a request takes it away, and several waits may look before `_obey` acts on it.
        self._asked = self._asked or self.control.request()
        return self._asked

    def _obey(self) -> bool:
        """Do what was asked for; only between two batches. Return whether anything was."""
        asked, self._asked = self._request(), ""
        reason = asked_by(self.control.asker())
        match asked:
            case "pause":
                self._record("paused", reason=reason)
            case "interrupt":
                self._record("paused", reason="interrupted")
            case "abort":
                self._record("ended", outcome=str(Outcome.ABORTED), reason=reason)
            case "rollback" if self.state.direction is Direction.FORWARD:
                self._record("rollback", reason=reason)
        return bool(asked)

    # -- choosing ------------------------------------------------------------------------------------------

    def _next(self) -> None:
        pending = self.state.pending
        canary = [name for name in self.state.plan.canary if name in pending]
        forward = self.state.direction is Direction.FORWARD
        if not pending:
            self._end()
        elif forward and self.state.plan.canary and not canary and not self.state.released:
            self._hold()
        else:
            self._begin(self._chooser.candidates(canary if forward and canary else pending))

    def _end(self) -> None:
        """End the rollout; forward only once all that was done still stands, and all others do."""
        if self.state.direction is Direction.BACK:
            self._record("ended", outcome=str(Outcome.ROLLED_BACK), reason=self.state.reason)
            return
        # Machines that were done first may have become unhealthy since.
        limit = max(policy.gate_timeout for policy in self.state.plan.policies.values())
        answer = self._until(self._all_stand, self.state.finished, limit, interruptible=True)
        if answer.verdict.ready:
            self._record("ended", outcome=str(Outcome.COMPLETED), reason=self.state.reason)
        elif not self._request():
            self._give_up(answer)

    def _all_stand(self) -> Answer:
        views = self.fleet.observe()
        known = {name for name, item in self.state.machines.items() if item.stage is Stage.DONE}
        # Failures that the policy lets pass are known already, and would hold up the end for ever.
        for name in sorted((known | self.state.expected) - set(self.state.failures)):
            if name not in views:
                return Answer("machine", wait(f"{name} is gone"))
            if not views[name].healthy:
                return Answer("machine", wait(f"{name} {condition(views[name])}"))
        return ALL_READY

    def _hold(self) -> None:
        self._record("held", machines=list(self.state.plan.canary), reason="the canary is healthy")
        # At a terminal the answer comes now; else the driver ends here, and `rollout resume` goes on.
        if self.control.confirm_canary(self.state.plan.canary):
            self._record("resumed", who="")

    def _begin(self, services: Sequence[Sequence[str]]) -> None:
        policy = self.state.plan.policy(services[0][0])
        self._pass(policy.config(self.state.direction).delay)
        chosen: list[str] = []

        def look() -> Answer:
            answer, chosen[:] = self._chooser.choose(services, self.fleet.observe())
            return answer

        answer = self._until(look, services[0], policy.gate_timeout, interruptible=True)
        if chosen and self._refused(chosen):
            return
        if chosen:
            self._start(chosen)
        elif not self._request():
            self._give_up(answer)

    def _start(self, names: Sequence[str]) -> None:
        """Record that work on machines begins; those that an earlier attempt replaced are only waited for."""
        views = self.fleet.observe()
        # A broker that was only slow, and recovers its log, would be killed in the middle of it.
        if already := [name for name in names if self._chooser.is_replaced(name, views)]:
            self._record("waiting", machines=already)
            return
        # By these ids a machine that was replaced is told from the one that was to be.
        ids = {name: views[name].id for name in names if name in views}
        replaced = any(self.state.plan.change(name).how is How.REPLACE for name in names)
        self._record("stopping" if replaced else "applying", machines=list(names), ids=ids)

    def _refused(self, names: Sequence[str]) -> bool:
        """Pause where Terraform would touch more than these machines: before any of them is stopped."""
        try:
            self.fleet.check(self._entries(names))
        except PlanRefused as refused:
            self._pause_refused(refused)
            return True
        return False

    def _entries(self, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        changes = [self.state.plan.change(name) for name in names]
        return {change.machine: change.entry(self.state.direction) or {} for change in changes}

    def _pause_refused(self, refused: PlanRefused) -> None:
        self._record("paused", reason=f"{refused.brief}: {'; '.join(refused.violations)}")

    def _give_up(self, answer: Answer) -> None:
        """Replace no more machines: the release has failed where a machine that has it is unhealthy."""
        reason = f"{answer.gate}: {answer.verdict.reason}"
        views = self.fleet.observe()
        new = [
            name
            for name, item in self.state.machines.items()
            if item.stage is Stage.DONE and item.direction is Direction.FORWARD
        ]
        unhealthy = [name for name in new if name not in views or not views[name].healthy]
        if unhealthy and self.state.direction is Direction.FORWARD:
            self._fail(unhealthy, reason)
        else:
            self._record("paused", reason=reason)

    def _pass(self, delay: float) -> None:
        """Let the delay since the last machine was done pass, unless something is asked for."""
        until = max((self._due(name, delay) for name in self.state.machines), default=0.0)
        while self.clock.ran() < until and not self._request():
            self.clock.sleep(min(self.poll, until - self.clock.ran()))

    def _due(self, name: str, delay: float) -> float:
        """Return when the delay after a machine is over, by the clock that cannot be set."""
        progress, now = self.state.machines[name], self.clock.ran()
        if progress.stage is not Stage.DONE:
            return now
        if name in self._done:
            return self._done[name] + delay
        # It was done by another process: the journal has only the time of day, which may have been set since.
        return now + min(max(progress.since + delay - self.clock.time(), 0.0), delay)

    # -- working on a batch --------------------------------------------------------------------------------

    def _work(self, batch: Sequence[str]) -> None:
        # After a kill the machines of a batch may be in different stages: the earliest goes on first.
        for stage, work in (
            (Stage.STOPPING, self._stop),
            (Stage.APPLYING, self._apply),
            (Stage.WAITING, self._wait),
            (Stage.MONITORING, self._monitor),
        ):
            names = [name for name in batch if self.state.machines[name].stage is stage]
            if names:
                work(names)
                return

    def _stop(self, names: Sequence[str]) -> None:
        # One that reloads takes its configuration on while it runs.
        replaced = [name for name in names if self.state.plan.change(name).how is How.REPLACE]
        self.fleet.stop(replaced)
        self._record("applying", machines=list(names))

    def _apply(self, names: Sequence[str]) -> None:
        try:
            self.fleet.change(self._entries(names))
        except PlanRefused as refused:
            self._pause_refused(refused)
        except HostError:
            raise  # a fault of this computer, not of the release: `resume` tries again
        except StonewareError as error:
            self._fail(names, f"it could not be created: {error.brief}")
        else:
            self._record("waiting", machines=list(names))

    def _wait(self, names: Sequence[str]) -> None:
        limit = self.state.plan.policy(names[0]).gate_timeout
        failed: list[str] = []

        def look() -> Answer:
            answer = self._all_back(names)
            failed[:] = [self._culprit] if not answer.verdict.ready else []
            return answer

        answer = self._until(look, names, limit)
        if answer.verdict.ready:
            self._record("monitoring", machines=list(names))
        else:
            self._fail(failed, f"{answer.gate}: {answer.verdict.reason}")

    _culprit: str = ""

    def _all_back(self, names: Sequence[str]) -> Answer:
        views = self.fleet.observe()
        for name in names:
            answer = self.gates.after(name, self._chooser.context(name, views))
            if answer.verdict.ready and self._untouched(name, views):
                answer = Answer("change", stop("it was not replaced"))
            if not answer.verdict.ready:
                self._culprit = name
                return answer
        return ALL_READY

    def _untouched(self, name: str, views: Mapping[str, MachineView]) -> bool:
        """Say whether a machine that was to be replaced was not: such a one proves nothing."""
        if self.state.plan.change(name).how is How.RELOAD or name not in views:
            return False
        return views[name].id == self.state.machines[name].previous_id

    def _monitor(self, names: Sequence[str]) -> None:
        """Watch machines until they have been healthy for the whole of the monitor time without a break."""
        policy = self.state.plan.policy(names[0])
        monitor = self._monitored(names)
        healthy_since = [self.clock.ran()]

        def look() -> Answer:
            answer = self._all_back(names)
            now = self.clock.ran()
            if not answer.verdict.ready:
                healthy_since[0] = now
                return answer
            lasted = now - healthy_since[0]
            if lasted >= monitor:
                return ALL_READY
            return Answer("monitor", wait(f"healthy for {lasted:.0f} of {monitor:g} s", lasted))

        answer = self._until(look, names, policy.gate_timeout + monitor)
        if answer.verdict.ready:
            self._record("done", machines=list(names))
        else:
            self._fail([self._culprit or names[0]], f"{answer.gate}: {answer.verdict.reason}")

    def _monitored(self, names: Sequence[str]) -> float:
        """Return how long machines are watched: without a health check at least until they have settled."""
        views = self.fleet.observe()
        unchecked = any(not view.checked for name, view in views.items() if name in names)
        monitor = self.state.plan.policy(names[0]).config(self.state.direction).monitor
        # A service that ends at once would otherwise be done within a short monitor time.
        return max(monitor, SETTLE if unchecked else 0.0)

    # -- waiting -------------------------------------------------------------------------------------------

    def _until(
        self, look: Callable[[], Answer], names: Sequence[str], limit: float, *, interruptible: bool = False
    ) -> Answer:
        """Ask until the answer is ready or stop, or until `limit` seconds have passed without progress."""
        began = last = self.clock.ran()
        best: dict[str, float] = {}
        shown: tuple[str, str] | None = None
        while True:
            answer = look()
            now = self.clock.ran()
            verdict = answer.verdict
            if verdict.kind is not Kind.WAIT:
                return answer
            # Time counts from the last progress: a broker that copies for an hour is not given up.
            progress = verdict.progress
            if progress is not None and progress > best.get(answer.gate, float("-inf")):
                best[answer.gate], last = progress, now
            # The monitor's reason changes each second, and each line of the journal is synced to the disk.
            if (answer.gate, verdict.reason) != shown and answer.gate != "monitor":
                shown = (answer.gate, verdict.reason)
                self._record("gate", machines=list(names), gate=answer.gate, reason=verdict.reason)
            if now - last >= limit:
                return Answer(answer.gate, stop(f"{verdict.reason}, for {limit:g} s"))
            if interruptible and self._request():
                return answer
            self.observer.waiting(names, answer, now - began, limit)
            self.clock.sleep(self.poll)

    # -- failing -------------------------------------------------------------------------------------------

    def _fail(self, names: Sequence[str], reason: str) -> None:
        shown = f"{', '.join(names)}: {reason}"
        self._record("failed", machines=list(names), reason=shown, action=str(self._reaction(names)))

    def _reaction(self, names: Sequence[str]) -> FailureAction:
        """Return what follows from a failure: on the way back, only a pause or going on with the others."""
        config = self.state.plan.policy(names[0]).config(self.state.direction)
        if config.failure_action is FailureAction.CONTINUE:
            return FailureAction.CONTINUE
        if self.state.direction is Direction.BACK:
            return FailureAction.PAUSE
        failures = {*self.state.failures, *names}
        # The ratio has to be exceeded, not met, as Ansible's max_fail_percentage.
        if len(failures) / len(self.state.plan.changes) <= config.max_failure_ratio:
            return FailureAction.CONTINUE
        return config.failure_action
