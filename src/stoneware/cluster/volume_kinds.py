"""The kinds of volumes against the machines that are to have them: virtual ones have disks."""

from __future__ import annotations

from collections.abc import Iterator

from stoneware.cluster.model import ClusterPlan, Desired, DesiredMachine, Observed
from stoneware.cluster.rollback_limits import BOOTS
from stoneware.errors import InputError
from stoneware.model.resources import DIRECTORY, DISK


def wrong_kinds(wanted: DesiredMachine, observed: Observed) -> Iterator[str]:
    """Yield what is wrong with the volumes that a machine is to have, and what converts them."""
    spec = wanted.spec
    kind = DISK if spec.vm else DIRECTORY
    for mount in spec.volumes:
        if observed.kinds.get(mount.volume, kind) != kind:
            yield (
                f"{wanted.name} needs the volume {mount.volume} to be a {kind}: "
                f"`stoneware stop {spec.name}`, then "
                f"`stoneware volume convert {mount.volume} --to {kind}`; nothing is lost"
            )


def check_kinds(plan: ClusterPlan, desired: Desired, observed: Observed) -> None:
    """Raise InputError where a plan boots a machine whose volumes are of the other kind."""
    steps = [step for step in plan.changes if step.kind == "machine" and step.action in BOOTS]
    machines = [desired.machines[step.name] for step in steps if step.name in desired.machines]
    if found := [text for machine in machines for text in wrong_kinds(machine, observed)]:
        raise InputError(
            f"the cluster {desired.name} cannot be brought up like this",
            details="\n".join(found),
            resolution="convert the volumes, then run the command again",
        )
