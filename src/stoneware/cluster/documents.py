"""What `plan --json`, `status --json` and `drift --json` print. Stable: fields are added, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoneware.cluster.drift import DriftReport
from stoneware.cluster.model import ClusterPlan, Desired, DesiredMachine, Step
from stoneware.cluster.status import MachineStatus

SCHEMA = 1


def plan_document(
    plan: ClusterPlan, desired: Desired | None = None, *, rollout: Sequence[Step] = ()
) -> dict[str, Any]:
    """Return a plan as JSON data; `rollout` are the steps of needs_rollout.

    `{"schema": 1, "cluster", "changes": N, "needs_rollout": [NAME…], "waves": [[NAME…]…], "steps": [{"kind":
    machine|volume|network, "name", "action": create|replace|update config|start|adopt|remove|nothing,
    "reasons": […]}…], "warnings": […]}`. A machine's step has, where it is wanted: "service", "machine" (its
    name on the platform), "image", "image_id" ("" before a bake), "commit", "config".
    """
    machines = desired.machines if desired else {}
    return {
        "schema": SCHEMA,
        "cluster": plan.cluster,
        "changes": len(plan.changes),
        "needs_rollout": [step.name for step in rollout],
        "waves": [list(wave) for wave in plan.waves],
        "steps": [
            {
                "kind": step.kind,
                "name": step.name,
                "action": str(step.action),
                "reasons": list(step.reasons),
                **(_wanted(machines[step.name]) if step.kind == "machine" and step.name in machines else {}),
            }
            for step in plan.steps
        ],
        "warnings": list(desired.warnings) if desired else [],
    }


def _wanted(machine: DesiredMachine) -> dict[str, Any]:
    return {
        "service": machine.service,
        "machine": machine.spec.name,
        "image": machine.image,
        "image_id": machine.image_id,
        "commit": machine.commit,
        "config": machine.config_digest,
    }


def status_document(cluster: str, machines: Sequence[MachineStatus]) -> dict[str, Any]:
    """Return the machines' status as JSON data.

    `{"schema": 1, "cluster", "in_sync": true|false|null, "well": BOOL, "machines": [{"name", "service",
    "wanted": {"image", "image_id", "commit", "config"}, "running": {the same} | null, "in_sync":
    true|false|null, "differences": […], "phase": PHASE | null, "health", "well", "ip", "ports": [{"host_ip",
    "host_port", "machine_port", "protocol"}…], "age": SECONDS | null, "exit_code": N | null, "error",
    "failed_check": {"exit_code", "times", "output"} | null}…]}`. The command
    adds `"rollout"`: null, or of the one that has not ended `{"id", "state": running|paused|holding,
    "reason", "who", "driver_alive": BOOL}`.
    `in_sync` null: it is not known; of the whole it is true only if it is of every machine.
    """
    known = [machine.in_sync for machine in machines]
    return {
        "schema": SCHEMA,
        "cluster": cluster,
        "in_sync": False if False in known else None if None in known else True,
        # `well` is what messages call healthy now; names of this schema stay.
        "well": all(machine.healthy for machine in machines),
        "machines": [_status(machine) for machine in machines],
    }


def _status(machine: MachineStatus) -> dict[str, Any]:
    running = {
        "image": machine.image,
        "image_id": machine.image_id,
        "commit": machine.commit,
        "config": machine.config,
    }
    return {
        "name": machine.name,
        "service": machine.service,
        "wanted": {
            "image": machine.image_wanted,
            "image_id": machine.image_id_wanted,
            "commit": machine.commit_wanted,
            "config": machine.config_wanted,
        },
        "running": running if machine.phase is not None else None,
        "in_sync": machine.in_sync,
        "differences": list(machine.differences),
        "phase": None if machine.phase is None else str(machine.phase),
        "health": str(machine.health),
        "well": machine.healthy,
        "ip": machine.ip,
        "ports": [dict(vars(port)) for port in machine.ports],
        "age": None if machine.age is None else round(machine.age, 1),
        "exit_code": machine.exit_code,
        "error": machine.error,
        "failed_check": None if machine.failed_check is None else dict(vars(machine.failed_check)),
    }


def drift_document(report: DriftReport) -> dict[str, Any]:
    """Return a drift report as JSON data.

    `{"schema": 1, "cluster", "machines": N, "in_sync": BOOL, "items": [{"source":
    image|config|file|terraform, "machine", "what", "wanted", "found"}…], "unknown": [{"machine", "source",
    "reason"}…]}`.
    """
    return {
        "schema": SCHEMA,
        "cluster": report.cluster,
        "machines": report.machines,
        "in_sync": report.in_sync,
        "items": [
            {
                "source": str(item.source),
                "machine": item.machine,
                "what": item.what,
                "wanted": item.wanted,
                "found": item.found,
            }
            for item in report.items
        ],
        "unknown": [
            {"machine": item.machine, "source": str(item.source), "reason": item.reason}
            for item in report.unknown
        ],
    }
