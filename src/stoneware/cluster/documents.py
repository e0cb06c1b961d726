"""What `plan --json`, `status --json` and `drift --json` print. Stable: fields are added, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoneware.cluster.drift import DriftReport
from stoneware.cluster.model import ClusterPlan, Desired, Step
from stoneware.cluster.status import MachineStatus


def plan_document(
    plan: ClusterPlan, desired: Desired | None = None, *, rollout: Sequence[Step] = ()
) -> dict[str, Any]:
    """Return a plan as JSON data; `rollout` are the steps of needs_rollout."""
    raise NotImplementedError


def status_document(cluster: str, machines: Sequence[MachineStatus]) -> dict[str, Any]:
    """Return the machines' status as JSON data."""
    raise NotImplementedError


def drift_document(report: DriftReport) -> dict[str, Any]:
    """Return a drift report as JSON data."""
    raise NotImplementedError
