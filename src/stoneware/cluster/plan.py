"""The steps from a cluster as it is to the cluster as it is wanted, each with its reasons. Pure."""

from __future__ import annotations

from stoneware.cluster.model import ClusterPlan, Desired, Observed, Step


def make_plan(desired: Desired, observed: Observed, *, recreate: bool = False) -> ClusterPlan:
    """Return a step for each machine, volume and network: also for those with nothing to do.

    Missing: create. Stopped: start. Failed: replace. Another configuration, of an image that takes it on while
    it runs: update. Any other difference: replace. Equal but not in Terraform's state: adopt (import). A
    service that is gone from the file: remove. Volumes are created, never removed: those that nothing wants
    any more have a step with nothing to do that says so. Networks of the cluster are created and removed.

    Order: networks, volumes, removals of machines, machines wave by wave, removals of networks. `waves` holds
    the short names of all machines wanted, grouped so that what a machine depends on is in an earlier wave.
    With `recreate`, configurations that could be updated in place are replaced as well.
    """
    raise NotImplementedError


def needs_rollout(plan: ClusterPlan, desired: Desired, observed: Observed) -> tuple[Step, ...]:
    """Return the replacements of machines that run well now, which `up` refuses without --recreate."""
    raise NotImplementedError
