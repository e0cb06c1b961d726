"""What `rollout --json` prints: plans, states, histories. Stable: fields are added, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stoneware.cluster.model import Release
from stoneware.rollout.history import MachineHistory, RolloutHistory
from stoneware.rollout.lock import RolloutLock
from stoneware.rollout.model import Change
from stoneware.rollout.planner import Planned

SCHEMA = 1


def planned_document(planned: Planned) -> dict[str, Any]:
    """Return a plan as JSON data.

    `{"schema": 1, "cluster", "changes": [{"machine", "service", "how": replace|reload, "before": {"image",
    "image_id", "config"} | null, "after": {the same}, "reasons": […], "gates": […]}…], "canary": […],
    "blocked": [SENTENCE…], "notes": [SENTENCE…], "leaders": {MACHINE: WORDS}}`. `image_id` is "" before a
    bake.
    """
    plan = planned.plan
    return {
        "schema": SCHEMA,
        "cluster": plan.cluster,
        "changes": [
            {**_change(change), "gates": gate_words(plan.policy(change.machine).gates)}
            for change in plan.changes
        ],
        "canary": list(plan.canary),
        "blocked": list(planned.blocked),
        "notes": list(planned.notes),
        "leaders": {leader.machine: leader.words for leader in planned.leaders},
    }


def gate_words(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the gates of a service; every one has that of the machines."""
    return ["machine", *(name for gate in gates for name in gate)]


def _change(change: Change) -> dict[str, Any]:
    before = change.entry_before or {}
    return {
        "machine": change.machine,
        "service": change.service,
        "how": str(change.how),
        "before": _release(change.before, str(before.get("image_ref", ""))),
        "after": _release(change.after, str(change.entry_after.get("image_ref", ""))),
        "reasons": list(change.reasons),
    }


def _release(release: Release | None, image: str) -> dict[str, str] | None:
    if release is None:
        return None
    return {"image": image, "image_id": release.image_id, "config": release.config_digest}


def rollout_document(row: RolloutHistory) -> dict[str, Any]:
    """Return a rollout as JSON data.

    `{"id", "kind": rollout|rollback, "who", "host", "command", "started", "ended": SECONDS | null, "seconds",
    "outcome": completed|rolled back|aborted|running|paused|holding, "reason", "finalized": BOOL, "machines":
    [{"machine", "service", "how", "before", "after", "reasons", "stage", "direction", "result", "seconds":
    {STAGE: SECONDS}, "failure"}…], "waits": [{"machines", "gate", "reason", "start", "seconds"}…]}`.
    """
    return {
        "id": row.id,
        "kind": row.kind,
        "who": row.who,
        "host": row.host,
        "command": row.command,
        "started": row.started,
        "ended": row.ended,
        "seconds": round(row.seconds, 3),
        "outcome": row.outcome,
        "reason": row.reason,
        "finalized": row.finalized,
        "machines": [_machine(machine) for machine in row.machines],
        "waits": [
            {
                "machines": list(wait.machines),
                "gate": wait.gate,
                "reason": wait.reason,
                "start": wait.start,
                "seconds": round(wait.seconds, 3),
            }
            for wait in row.waits
        ],
    }


def _machine(machine: MachineHistory) -> dict[str, Any]:
    return {
        "machine": machine.name,
        "service": machine.service,
        "how": machine.how,
        "before": _release(machine.before, machine.image_before),
        "after": _release(machine.after, machine.image_after),
        "reasons": list(machine.reasons),
        "stage": str(machine.stage),
        "direction": machine.direction,
        "result": machine.result,
        "seconds": {stage: round(seconds, 3) for stage, seconds in machine.seconds.items()},
        "failure": machine.failure,
    }


def status_document(cluster: str, row: RolloutHistory | None, lock: RolloutLock | None) -> dict[str, Any]:
    """Return the last rollout as JSON data.

    `{"schema": 1, "cluster", "rollout": {as rollout_document} | null, "driver": {"who", "host", "pid",
    "since", "alive"} | null}`; the driver is that of a rollout that has not ended.
    """
    driver = None
    if lock is not None:
        known = asdict(lock)
        driver = {key: known[key] for key in ("who", "host", "pid", "since")} | {"alive": lock.alive}
    document = None if row is None else rollout_document(row)
    return {"schema": SCHEMA, "cluster": cluster, "rollout": document, "driver": driver}


def history_document(cluster: str, rows: Sequence[RolloutHistory]) -> dict[str, Any]:
    """Return all rollouts as JSON data: `{"schema": 1, "cluster", "rollouts": [{as rollout_document}…]}`."""
    return {"schema": SCHEMA, "cluster": cluster, "rollouts": [rollout_document(row) for row in rows]}
