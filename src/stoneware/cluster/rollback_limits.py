"""The rollback floors of disks against the images that a cluster's machines are to boot."""

from __future__ import annotations

from stoneware.cluster.model import Action, ClusterPlan, Desired, DesiredMachine, Observed
from stoneware.errors import InputError
from stoneware.image.versions import floor_problem
from stoneware.launch.plan import Images

OLDER_IMAGE = "use an image of that version or a later one; older ones cannot read the data"
BOOTS = frozenset({Action.CREATE, Action.REPLACE, Action.START})


class BelowFloor(InputError):
    """Machines would boot an image that is too old for what is on their disks; nothing was done."""

    def __init__(self, cluster: str, sentences: tuple[str, ...]) -> None:
        super().__init__(
            f"the cluster {cluster} cannot be brought up like this",
            details="\n".join(sentences),
            resolution=OLDER_IMAGE,
        )
        self.sentences = sentences


def floors_of_disks(wanted: DesiredMachine, observed: Observed) -> dict[str, str]:
    """Return the floors of the disks that a machine writes to."""
    names = [mount.volume for mount in wanted.spec.volumes if not mount.read_only]
    return {name: observed.floors[name] for name in names if name in observed.floors}


def check_floors(
    plan: ClusterPlan,
    desired: Desired,
    observed: Observed,
    images: Images,
) -> None:
    """Raise BelowFloor where a plan boots an image below the floor of a disk."""
    if not observed.floors:
        return
    found = []
    for step in plan.changes:
        wanted = desired.machines.get(step.name) if step.kind == "machine" else None
        if wanted is not None and wanted.image_id and step.action in BOOTS:
            floors = floors_of_disks(wanted, observed)
            labels = images.manifest(wanted.image_id)["labels"] if floors else {}
            found.append(floor_problem(wanted.name, labels, floors))
    sentences = tuple(text for text in found if text)
    if sentences:
        raise BelowFloor(desired.name, sentences)
