"""The gate of PostgreSQL with streaming replication: replicas first, the primary last, no replica far behind.

It asks psql inside the machines, or a command that prints the same. Which server is the primary may change
at any time: nothing is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.durations import parse_duration
from stoneware.errors import MachineError
from stoneware.platforms.declared import declared_name
from stoneware.rollout.gate_protocol import (
    READY,
    GateContext,
    Leader,
    SettingError,
    Verdict,
    stop,
    timeout_setting,
    wait,
)

MAX_LAG = 16 * 1024 * 1024  # bytes: one WAL segment
_QUERY = """SELECT pg_is_in_recovery(),
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
  (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming')"""
# Plain output to parse, whatever the psqlrc of the user asks for.
_PSQL = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--dbname=postgres", "--command")
_LIMIT = 10.0  # seconds for a question
_SETTINGS: Mapping[str, tuple[type, ...]] = {
    "services": (list,),
    "command": (str, list),
    "max_lag": (int,),
    "user": (str,),
    "timeout": (str, int, float),
    "switchover": (str, list),
}


@dataclass(frozen=True)
class Server:
    """What one server says of itself. `position` in the write-ahead log, in bytes."""

    replica: bool
    position: int
    streaming: bool


def parse_server(line: str) -> Server:
    """Return what psql printed as `f|0/3000148|0`. Raises ValueError."""
    recovery, position, receivers = line.strip().split("|")
    return Server(recovery == "t", parse_lsn(position), receivers != "0")


def parse_lsn(text: str) -> int:
    """Return a log sequence number such as `16/B374D848` in bytes; an empty one (nothing yet) is 0."""
    if not text:
        return 0
    if re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", text) is None:
        raise ValueError("it is no log sequence number")
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


class PostgresGate:
    """The servers are all machines of the services in the setting `services`, else of the whole cluster.

    Other settings: `max_lag` in bytes, `user` to run psql as, `command` to run in the place of psql,
    `timeout` of a question, and `switchover`: a command for the primary that makes another server the
    primary. Without it the primary is taken down as it is, after all others.
    """

    name = "postgres"
    runs_commands = True

    @staticmethod
    def commands(settings: Mapping[str, Any]) -> list[list[str]]:
        """Return what asks a server, and the switchover."""
        switchover = settings.get("switchover")
        return [_question(settings), *([_argv(switchover)] if switchover else [])]

    def before(self, machine: str, context: GateContext) -> Verdict:
        """Wait until the others can go on without the server."""
        # Whatever the others say: an unhealthy server may be what they wait for.
        if not context.views[machine].healthy:
            return READY
        servers = self._servers(context)
        primaries = [name for name, server in servers.items() if not server.replica]
        # With none there is an election, with two a split: taking one down could decide it for the wrong one.
        if len(primaries) != 1:
            return wait(_primaries(primaries))
        for name, server in servers.items():
            behind = _behind(name, servers, primaries[0], context) if server.replica else None
            # The machine's own lag is no reason: it is what goes down, and comes back to catch up.
            if behind is not None and name != machine:
                return behind
        return self._primary(machine, servers, context) if machine == primaries[0] else READY

    def _primary(self, machine: str, servers: Mapping[str, Server], context: GateContext) -> Verdict:
        waiting = [name for name in context.unfinished if name in servers and name != machine]
        if set(waiting) - context.down:
            return wait("it is the primary, so it goes last")
        command = context.settings.get("switchover")
        if not command or len(servers) == 1:
            return READY
        done = context.execute(machine, _argv(command), _LIMIT)
        if done.code != 0:
            return stop(f"the switchover failed with exit code {done.code}: {done.output.strip()[-300:]}")
        # Not ready: who is primary now is asked at the next look, and then it is another machine's turn.
        return wait("the switchover is under way")

    def after(self, machine: str, context: GateContext) -> Verdict:
        """Wait until the server is the primary, or a replica that streams and is not far behind."""
        servers = self._servers(context)
        primaries = [name for name, server in servers.items() if not server.replica]
        if len(primaries) != 1:
            return wait(_primaries(primaries))
        if machine not in servers:
            return wait("the server does not answer")
        if machine == primaries[0]:
            return READY
        return _behind(machine, servers, primaries[0], context) or READY

    def order(self, machines: Sequence[str], context: GateContext) -> Sequence[str]:
        """Put the primary last."""
        servers = self._servers(context)
        return sorted(machines, key=lambda name: name in servers and not servers[name].replica)

    def leader(self, context: GateContext) -> Leader | None:
        """Return the primary, where there is one."""
        servers = self._servers(context)
        found = [name for name, server in servers.items() if not server.replica]
        return Leader(found[0], "is the primary") if len(found) == 1 else None

    def _servers(self, context: GateContext) -> dict[str, Server]:
        services = context.settings.get("services")
        return {
            name: _ask(name, context)
            for name, view in context.views.items()
            if view.alive and name not in context.down and (not services or view.service in services)
        }


def _primaries(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} are all primaries" if names else "no server is the primary"


def _ask(machine: str, context: GateContext) -> Server:
    done = context.execute(machine, _question(context.settings), _limit(context))
    if done.code != 0:
        raise MachineError(f"{machine} does not answer: {done.output.strip()[-200:]}")
    return parse_server(done.output)


def _question(settings: Mapping[str, Any]) -> list[str]:
    """Return the command that prints what a server says of itself."""
    if command := settings.get("command"):
        return _argv(command)
    return ["runuser", "-u", str(settings.get("user", "postgres")), "--", *_PSQL, _QUERY]


def _argv(command: str | Sequence[Any]) -> list[str]:
    """Return a command of the settings: a text is for a shell, unless it is the place of an image's own."""
    if isinstance(command, str):
        return [command] if declared_name([command]) else ["sh", "-c", command]
    return [str(word) for word in command]


def _limit(context: GateContext) -> float:
    given = context.settings.get("timeout")
    return parse_duration(str(given), "the postgres gate's timeout") if given is not None else _LIMIT


def _behind(name: str, servers: Mapping[str, Server], primary: str, context: GateContext) -> Verdict | None:
    """Return why a replica is not as it should be, or None."""
    server = servers[name]
    # The primary was asked before or after the replica, so a replica may seem to be ahead of it.
    lag = max(servers[primary].position - server.position, 0)
    if not server.streaming:
        return wait(f"{name} does not stream from {primary}", progress=float(server.position))
    if lag > int(context.settings.get("max_lag", MAX_LAG)):
        return wait(f"{name} is {lag} bytes behind {primary}", progress=-float(lag))
    return None


def settings_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of `- postgres: {…}`, checked. Raises InputError."""
    unknown = sorted(set(document) - set(_SETTINGS))
    if unknown:
        raise SettingError(
            f"the postgres gate has no setting {unknown[0]!r}",
            unknown[0],
            details=f"It has: {', '.join(_SETTINGS)}.",
        )
    for name, value in document.items():
        if not isinstance(value, _SETTINGS[name]) or isinstance(value, bool):
            raise SettingError(f"the postgres gate's {name} cannot be {value!r}", name)
    if "timeout" in document:
        return {**document, "timeout": timeout_setting("postgres", document["timeout"])}
    return document
