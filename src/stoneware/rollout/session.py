"""Rollouts from the first line of their journal to the last: begun, taken up again, returned, halted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import field

from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.events import Reporter, Silent
from stoneware.cluster.rollback_limits import OLDER_IMAGE
from stoneware.cluster.site import Site
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.platforms.cluster_records import ClusterBusy
from stoneware.rollout import registry
from stoneware.rollout.clock import ProcessClock
from stoneware.rollout.cluster_fleet import ClusterFleet, read_variables
from stoneware.rollout.control import RecordControl, asked_by, put_request
from stoneware.rollout.engine import Engine, Observer
from stoneware.rollout.journal import Event, Journal, journal_of, rollout_ids
from stoneware.rollout.lock import check_unlocked, identity, read_lock, remove_lock, write_lock
from stoneware.rollout.model import Direction
from stoneware.rollout.planner import Planned
from stoneware.rollout.state import Mode, Outcome, RolloutState, fold, plan_document


class RolloutBlocked(InputError):
    """A plan has what a rollout must not do; nothing was done. `sentences` say what."""

    def __init__(self, planned: Planned, command: str = "stoneware rollout") -> None:
        super().__init__(
            f"the cluster {planned.plan.cluster} cannot be rolled out like this",
            details="\n".join(planned.blocked),
            resolution=OLDER_IMAGE if planned.too_old else f"put that right, then: {command}",
        )
        self.sentences = planned.blocked


@dataclass(frozen=True)
class Session:
    """What one command does with the rollouts of one cluster. `lock_timeout` is in seconds.

    `observer` shows a rollout, `reporter` what Terraform says with `verbose`; `ask` is asked whether to go on
    after a canary, `notice` is told of what should be said aside.
    """

    site: Site
    cluster: str
    command: str
    observer: Observer
    reporter: Reporter = field(default_factory=Silent)
    ask: Callable[[Sequence[str]], bool] = lambda _: False
    notice: Callable[[str], None] = lambda _: None
    verbose: bool = False
    lock_timeout: float = 0.0

    @property
    def directory(self) -> ClusterDirectory:
        """Where the cluster is kept."""
        return self.site.directory(self.cluster)

    # -- driving -------------------------------------------------------------------------------------------

    def begin(
        self,
        prepare: Callable[[], Planned],
        *,
        kind: str = "rollout",
        told: Callable[[Planned], None] = lambda _: None,
    ) -> RolloutState | None:
        """Begin the rollout that `prepare` plans and drive it; None where there is nothing to do.

        `prepare` is called while the cluster is locked; `told` is of what is going to be done. Raises
        RolloutUnfinished, RolloutBlocked.
        """
        read_variables(self.directory)  # the cluster is up
        with self._locked():
            check_unlocked(self.directory)
            # Planned under the lock: what a plan was made of cannot change before the rollout begins.
            planned = prepare()
            if planned.blocked:
                raise RolloutBlocked(planned, self.command)
            if planned.nothing:
                return None
            told(planned)
            return self._drive(journal_of(self.directory), self._begin(planned, kind))

    def _begin(self, planned: Planned, kind: str) -> str:
        """Write that a rollout begins, and what its plan is; return its id."""
        registry.gatekeeper(planned.plan.policies)  # before anything is written: they may be missing
        journal = journal_of(self.directory)
        rollout = f"r{len(rollout_ids(journal.read())) + 1}"
        who, host = identity()
        # After a kill between this and the journal's line `check_unlocked` removes the mark.
        self._mark(rollout)
        fields = {
            "kind": kind,
            "who": who,
            "host": host,
            "command": self.command,
            # A machine that is added later by hand is not one that this rollout has to wait for.
            "present": sorted(read_variables(self.directory)["machines"]),
            "plan": plan_document(planned.plan),
        }
        journal.append(Event(time.time(), rollout, "begin", fields))
        return rollout

    def resume(self) -> RolloutState:
        """Go on with the rollout that has not ended, whatever ended its driver."""
        with self._locked():
            state = self._require_unfinished("resume")
            self._take_over(state)
            return self._drive(journal_of(self.directory), state.id)

    def roll_back(self) -> RolloutState | None:
        """Return what the rollout that has not ended has changed; None: its living driver was asked to."""
        try:
            with self._locked():
                state = self._require_unfinished("roll back")
                self._take_over(state, back=True)
                return self._drive(journal_of(self.directory), state.id)
        except ClusterBusy:
            # The living driver holds the cluster's lock.
            self._ask_driver("rollback")
            return None

    def _take_over(self, state: RolloutState, *, back: bool = False) -> None:
        who, host = identity()
        self._mark(state.id)
        text = f"taken over by {who} on {host} from a driver that is gone"
        name, fields = "note", {"text": text}
        if back and state.direction is Direction.FORWARD:
            # Not resumed first: that would forget which machines have failed.
            name, fields = "rollback", {"reason": asked_by(who)}
        elif state.mode is not Mode.RUNNING:
            name, fields = "resumed", {"who": who, "host": host}
        journal_of(self.directory).append(Event(time.time(), state.id, name, fields))

    def _mark(self, rollout: str) -> None:
        """Be the driver of a rollout from now on; what was asked of an earlier one is forgotten."""
        RecordControl(self.directory, rollout).forget()
        write_lock(self.directory, rollout)

    def _drive(self, journal: Journal, rollout: str) -> RolloutState:
        events = journal.of(rollout)
        state = fold(events)
        if state is None:
            raise InputError(f"the journal {journal.place} has no rollout {rollout}")
        self.observer.event(events[-1], state)
        control = RecordControl(self.directory, rollout, self.ask, self.notice)
        keeper = registry.gatekeeper(state.plan.policies)
        with ClusterFleet(self.site, self.cluster, self.reporter, self.verbose) as fleet, control.signals():
            fleet.prepare()
            engine = Engine(
                state, fleet, journal, keeper, ProcessClock(), control, self.observer, fleet.execute
            )
            state = engine.run()
        # A request that came after the last decision is not one for the next rollout.
        control.forget()
        if state.mode is Mode.ENDED:
            remove_lock(self.directory)
        return state

    # -- asking --------------------------------------------------------------------------------------------

    def pause(self) -> str:
        """Pause a rollout after the machines it is at; return what came of it as a sentence."""
        return self._halt("pause", "paused", {"reason": asked_by(identity()[0])})

    def abort(self) -> str:
        """End a rollout where it is; return what came of it as a sentence."""
        fields = {"reason": asked_by(identity()[0]), "outcome": str(Outcome.ABORTED)}
        return self._halt("abort", "ended", fields)

    def _halt(self, request: str, name: str, fields: dict[str, str]) -> str:
        try:
            with self._locked():
                state = self._require_unfinished(request)
                if request == "pause" and state.mode is not Mode.RUNNING:
                    return f"the rollout {state.id} is {state.mode} already"
                journal_of(self.directory).append(Event(time.time(), state.id, name, fields))
                # After the line of the journal: the next command removes a mark that a kill leaves.
                if request == "abort":
                    remove_lock(self.directory)
                return self._halted(state, request)
        except ClusterBusy:
            return self._ask_driver(request)

    def _halted(self, state: RolloutState, request: str) -> str:
        left = f"; it was at {', '.join(state.batch)}" if state.batch else ""
        return f"the rollout {state.id} is {'paused' if request == 'pause' else 'aborted'}{left}"

    def _ask_driver(self, request: str) -> str:
        lock = read_lock(self.directory)
        if lock is None or not lock.alive:
            raise InputError(
                f"no rollout of the cluster {self.cluster} is under way, but something else changes it",
                resolution="wait until it has ended, then: stoneware rollout status",
            )
        put_request(self.directory, lock.rollout, request, identity()[0])
        return (
            f"asked process {lock.pid} on {lock.host} to {request} {lock.rollout} after its current machines"
        )

    # -- what there is -------------------------------------------------------------------------------------

    def _locked(self) -> AbstractContextManager[None]:
        return self.directory.lock(self.command, timeout=self.lock_timeout)

    def _require_unfinished(self, what: str) -> RolloutState:
        read_variables(self.directory)  # the cluster is up
        state = latest(self.directory)
        if state is None or state.mode is Mode.ENDED:
            last = "" if state is None else f"The last one, {state.id}, is {state.outcome}."
            raise InputError(
                f"there is no rollout of the cluster {self.cluster} to {what}",
                details=last,
                resolution="stoneware rollout --plan    # shows what one would do",
            )
        return state


def latest(directory: ClusterDirectory) -> RolloutState | None:
    """Return the last rollout of a cluster, or None where there was none."""
    found = journal_of(directory).read()
    ids = rollout_ids(found)
    return fold(event for event in found if event.rollout == ids[-1]) if ids else None
