"""The gate of a user's own command: it runs in machines, and its exit code opens the gate or does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stoneware.errors import InputError
from stoneware.rollout.gate_protocol import (
    READY,
    GateContext,
    SettingError,
    Verdict,
    stop,
    timeout_setting,
    wait,
)

TIMEOUT = 30.0  # seconds a command gets unless the file says otherwise
LONGEST = 3600.0
_SHOWN = 200  # characters of output
_NOT_RUN = {126: "it cannot be executed", 127: "there is no such command"}  # as a shell says it
_AT_ONCE = 20


class CommandGate:
    """Exit code 0 is ready. 126 and 127, what a shell says of a command it cannot run, stop the rollout.

    Any other code is a wait. The command runs in the machine in question (`in: self`), in every machine of
    the service that runs (`in: each`), or in one machine. STONEWARE_GATE tells it `before` from `after`,
    STONEWARE_GATE_MACHINE which machine it is about.
    """

    name = "exec"
    runs_commands = True

    @staticmethod
    def commands(settings: Mapping[str, Any]) -> list[Sequence[str]]:
        """Return the one command."""
        return [settings["command"]]

    def before(self, machine: str, context: GateContext) -> Verdict:
        """Ask whether the machine may go down; not itself where it is unhealthy or returns."""
        skipped = context.returning or not context.views[machine].healthy
        names = [name for name in _targets(machine, context) if not (skipped and name == machine)]
        return self._ask("before", machine, names, context)

    def after(self, machine: str, context: GateContext) -> Verdict:
        """Ask whether the machine is back."""
        return self._ask("after", machine, _targets(machine, context), context)

    def order(self, machines: Sequence[str], _context: GateContext) -> Sequence[str]:
        """Leave the order as it is."""
        return machines

    def _ask(self, moment: str, machine: str, names: Sequence[str], context: GateContext) -> Verdict:
        for name in names:
            if name not in context.views or not context.views[name].alive:
                return wait(f"{name} does not run, so nothing can be asked there")
        # `execute` takes words only: env(1) gives the command its variables on each platform.
        about = ("/usr/bin/env", f"STONEWARE_GATE={moment}", f"STONEWARE_GATE_MACHINE={machine}")
        argv = (*about, *context.settings["command"])
        seconds = float(context.settings.get("timeout", TIMEOUT))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = list(pool.map(lambda name: context.execute(name, argv, seconds), names))
        for name, outcome in zip(names, outcomes, strict=True):
            said = _last_line(outcome.output)
            if outcome.code in _NOT_RUN:
                return stop(f"in {name}: {_NOT_RUN[outcome.code]}{said}")
            if outcome.code != 0:
                return wait(f"in {name}: exit code {outcome.code}{said}")
        return READY


def _targets(machine: str, context: GateContext) -> list[str]:
    where = str(context.settings.get("in", "self"))
    if where == "self":
        return [machine]
    if where == "each":
        service = context.change.service
        found = [name for name, view in context.views.items() if view.service == service]
        return sorted(name for name in found if name == machine or context.views[name].alive)
    return [where]


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f": {lines[-1][:_SHOWN]}" if lines else ""


def settings_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of `- exec: [argv…] | "text for the shell"`, `in:` and `timeout:` next to it.

    Raises InputError where they make no sense.
    """
    unknown = sorted(set(document) - {"exec", "in", "timeout"})
    if unknown:
        raise SettingError(
            f"the exec gate has no setting {unknown[0]!r}", unknown[0], details="it has: exec, in, timeout"
        )
    where = document.get("in", "self")
    if not isinstance(where, str) or not where:
        raise SettingError(
            f"the exec gate's `in` is self, each, or a machine such as kafka-1, not {where!r}", "in"
        )
    return {"command": _command(document.get("exec")), "in": where, "timeout": _timeout(document)}


def _command(value: Any) -> list[str]:
    if isinstance(value, str) and value.strip():
        return ["/bin/sh", "-c", value]
    if isinstance(value, list) and value and all(isinstance(word, str | int | float) for word in value):
        return [str(word) for word in value]
    raise InputError('the exec gate needs a command: ["program", "argument"], or one text for the shell')


def _timeout(document: Mapping[str, Any]) -> float:
    given = document.get("timeout", TIMEOUT)
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise SettingError(f"the exec gate's timeout is a duration such as 30s, not {given!r}", "timeout")
    seconds = timeout_setting("exec", given)
    if not 0 < seconds <= LONGEST:
        raise SettingError(
            f"the exec gate's timeout has to be between a moment and an hour, not {given}", "timeout"
        )
    return seconds
