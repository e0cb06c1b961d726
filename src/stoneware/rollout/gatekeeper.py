"""Asking gates: in order, each within its time, and whatever goes wrong in one counts as `wait`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import MachineError, StonewareError
from stoneware.rollout.gate_protocol import READY, Gate, GateContext, Leader, Verdict, stop, wait

CHECK_LIMIT = 30.0  # seconds that one question to one gate may take

Call = Callable[[Callable[[], Any], float], Any]


def within(question: Callable[[], Any], seconds: float) -> Any:
    """Return what a function returns or raise what it raises; TimeoutError when that takes too long.

    A function that hangs is left behind in a thread, which ends with the process.
    """
    box: dict[str, Any] = {}

    def answer() -> None:
        try:
            box["value"] = question()
        except BaseException as error:  # handed on below
            box["error"] = error

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if "error" in box:
        raise box["error"]
    return box["value"]


@dataclass(frozen=True)
class Answer:
    """A verdict and the gate that gave it; the gate's name is empty when all were ready."""

    gate: str
    verdict: Verdict


ALL_READY = Answer("", READY)


class GateFault(MachineError):
    """A gate that hangs or breaks; what it did is the rest of a sentence about it."""


def _ordered(gate: Gate, machines: Sequence[str], context: GateContext) -> list[str]:
    return list(gate.order(machines, context))


@dataclass(frozen=True)
class Gatekeeper:
    """The gates of each service with their settings. `call` runs a question within a time."""

    gates: Mapping[str, Sequence[tuple[Gate, Mapping[str, Any]]]]
    call: Call = within
    limit: float = CHECK_LIMIT

    def before(self, machine: str, context: GateContext) -> Answer:
        """Return the first answer that is not ready, of all gates asked whether a machine may go down."""
        return self._ask(context, lambda gate: partial(gate.before, machine))

    def after(self, machine: str, context: GateContext) -> Answer:
        """Return the first answer that is not ready, of all gates asked whether a machine is back."""
        return self._ask(context, lambda gate: partial(gate.after, machine))

    def order(self, machines: Sequence[str], context: GateContext) -> list[str]:
        """Return the machines in the order that the gates want, each gate refining the one before it.

        A gate that fails to say leaves the order as it is: its `before` will tell why.
        """
        ordered = list(machines)
        for gate, settings in self._of(context):
            own = replace(context, settings=settings)
            try:
                wanted = self._answer(partial(_ordered, gate, ordered, own))
            except StonewareError:
                continue
            # A gate may not drop a machine, or add one.
            if sorted(wanted) == sorted(ordered):
                ordered = wanted
        return ordered

    def leader(self, context: GateContext) -> Leader | None:
        """Return who leads the service, by the first gate that knows; None where none has a leader.

        Raises StonewareError where a gate cannot say.
        """
        for gate, settings in self._of(context):
            ask = getattr(gate, "leader", None)
            if ask is None:
                continue
            try:
                found = self._answer(partial(ask, replace(context, settings=settings)))
            except GateFault as fault:
                raise MachineError(f"the gate {gate.name} {fault.brief}") from fault
            if isinstance(found, Leader):
                return found
        return None

    def _of(self, context: GateContext) -> Sequence[tuple[Gate, Mapping[str, Any]]]:
        return self.gates.get(context.change.service, ())

    def _ask(
        self, context: GateContext, question: Callable[[Gate], Callable[[GateContext], Verdict]]
    ) -> Answer:
        for gate, settings in self._of(context):
            own = replace(context, settings=settings)
            verdict = self._verdict(partial(question(gate), own))
            if not verdict.ready:
                return Answer(gate.name, verdict)
        return ALL_READY

    def _answer(self, question: Callable[[], Any]) -> Any:
        """Return what a gate says. Raises StonewareError, a GateFault for whatever else a gate raises."""
        try:
            return self.call(question, self.limit)
        except StonewareError:
            raise
        except TimeoutError:
            raise GateFault(f"did not answer within {self.limit:g} s") from None
        except Exception as error:  # a gate is a plug-in
            raise GateFault(f"failed: {type(error).__name__}: {error}") from error

    def _verdict(self, question: Callable[[], Any]) -> Verdict:
        try:
            verdict = self._answer(question)
        except GateFault as fault:
            return wait(f"it {fault.brief}")
        except StonewareError as error:
            return wait(error.brief)
        # Time does not change what a gate's code returns.
        if not isinstance(verdict, Verdict):
            return stop(f"it answered {verdict!r}, which is no verdict")
        return verdict
