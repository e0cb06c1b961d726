"""Chooses what a rollout replaces next: by service, ordered by the gates, as many as the policy allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stoneware.dataclass import dataclass
from stoneware.model.machine import Health
from stoneware.rollout.gate_protocol import CommandOutcome, GateContext, Kind
from stoneware.rollout.gatekeeper import ALL_READY, Answer, Gatekeeper
from stoneware.rollout.model import Direction, MachineView
from stoneware.rollout.state import RolloutState


@dataclass(frozen=True)
class Chooser:
    """Chooses from the machines that are pending in one state of a rollout; changes nothing."""

    state: RolloutState
    gates: Gatekeeper
    execute: Callable[[str, Sequence[str], float], CommandOutcome]

    def candidates(self, names: Sequence[str]) -> list[list[str]]:
        """Return the machines that may be next, by service; on the way back, failed ones first."""
        if self.state.direction is Direction.BACK:
            # They harm the cluster now; those that are healthy with the new release can wait.
            names = [name for name in names if name in self.state.failures] or names
        services: dict[str, list[str]] = {}
        for name in names:
            services.setdefault(self.state.plan.change(name).service, []).append(name)
        return list(services.values())

    def choose(
        self, services: Sequence[Sequence[str]], views: Mapping[str, MachineView]
    ) -> tuple[Answer, list[str]]:
        """Return machines of one service that may go down now, or why the very first may not."""
        refused: Answer | None = None
        for names in services:
            answer, chosen = self._of_service(names, views)
            if chosen:
                return ALL_READY, chosen
            refused = refused or answer
        return refused or ALL_READY, []

    def _of_service(
        self, names: Sequence[str], views: Mapping[str, MachineView]
    ) -> tuple[Answer | None, list[str]]:
        """Return as many machines of a service as its policy lets go down together."""
        config = self.state.plan.policy(names[0]).config(self.state.direction)
        # 0 is all of them, as in Compose.
        room = config.parallelism or len(names)
        chosen: list[str] = []
        refused: Answer | None = None
        for name in self._ordered(names, views):
            # Those chosen count as down: each alone might go, and both not.
            answer = self._may_go(name, views, frozenset(chosen))
            if answer.verdict.ready:
                chosen.append(name)
            else:
                refused = refused or answer
            if len(chosen) == room:
                break
        return refused, chosen

    def _ordered(self, candidates: Sequence[str], views: Mapping[str, MachineView]) -> list[str]:
        ordered = self.gates.order(candidates, self.context(candidates[0], views))
        # Stable, so the healthy ones keep the gates' order; one that is down costs nothing to replace.
        return sorted(ordered, key=lambda name: name in views and views[name].healthy)

    def _may_go(self, name: str, views: Mapping[str, MachineView], down: frozenset[str]) -> Answer:
        if name not in views or not views[name].alive or self.is_replaced(name, views):
            return ALL_READY  # down already, or done by an earlier attempt
        context = self.context(name, views, down)
        answer = self.gates.before(name, context)
        if context.returning and answer.verdict.kind is Kind.STOP:
            return ALL_READY  # a gate that reports the failure must not prevent the return from that failure
        return answer

    def context(
        self, name: str, views: Mapping[str, MachineView], down: frozenset[str] = frozenset()
    ) -> GateContext:
        """Return what the gates are told about the turn of a machine, while those in `down` are down."""
        return GateContext(
            cluster=self.state.plan.cluster,
            views=views,
            change=self.state.plan.change(name),
            execute=self.execute,
            target=self.state.plan.change(name).release(self.state.direction),
            down=down,
            unfinished=self._unfinished(),
            expected=self.state.expected,
            returning=self.state.direction is Direction.BACK and name in self.state.failures,
        )

    def _unfinished(self) -> Sequence[str]:
        """Return what a leader waits for; a canary that the user insists on waits for other canaries only."""
        pending, plan = self.state.pending, self.state.plan
        canary = [name for name in pending if name in plan.canary]
        return canary if plan.insisted and canary and self.state.direction is Direction.FORWARD else pending

    def is_replaced(self, name: str, views: Mapping[str, MachineView]) -> bool:
        """Say whether an earlier attempt has replaced a machine that is healthy by now, or may become so.

        After `resume`: a broker that took longer than its time limit must not be replaced once more. The
        machine has to be created from all that is declared for it in this direction.
        """
        view, before = views.get(name), self.state.machines[name].previous_id
        if view is None or not before or view.id == before:
            return False
        target = self.state.plan.change(name).release(self.state.direction)
        if view.created_from != target or view.release not in (None, target):
            return False
        return view.alive and view.health is not Health.UNHEALTHY
