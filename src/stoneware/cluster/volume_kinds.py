"""The kinds of volumes against the machines that are to have them: a cluster's own volumes become of theirs.

The platform converts such a volume when it makes the machine, so each way to another kind, forward or back,
is a machine that is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from stoneware.cluster.model import ClusterPlan, Desired, DesiredMachine, Observed
from stoneware.cluster.rollback_limits import BOOTS
from stoneware.errors import InputError

Faults = Callable[[Mapping[str, str]], Mapping[str, Iterable[str]]]  # `conversion_faults` of a platform


def conversions(wanted: DesiredMachine, observed: Observed) -> dict[str, str]:
    """Return which volumes become of another kind when a machine is made: by name, that kind."""
    # `volumes` are the cluster's own, `kinds` those of any volume.
    return {name: kind for name, kind in _others(wanted, observed).items() if name in observed.volumes}


def conversion_words(wanted: DesiredMachine, observed: Observed) -> Iterator[str]:
    """Say which volumes become of another kind when a machine is made."""
    for name, kind in conversions(wanted, observed).items():
        yield f"converts its volume {name}: {observed.kinds[name]} → {kind}, with all that is on it"


def kind_faults(wanted: DesiredMachine, observed: Observed, faults: Faults) -> Iterator[str]:
    """Yield why volumes of the other kind keep a machine from being made, and what to do about it."""
    spec, own = wanted.spec, conversions(wanted, observed)
    for name, kind in _others(wanted, observed).items():
        if name not in own:
            yield (
                f"{wanted.name} needs the volume {name} to be a {kind}, and it is not the cluster's: "
                f"`stoneware stop {spec.name}`, then `stoneware volume convert {name} --to {kind}`; "
                "nothing is lost"
            )
    for name, reasons in (faults(own) if own else {}).items():
        yield from (f"{wanted.name} needs the volume {name} to be a {own[name]}: {why}" for why in reasons)


def check_kinds(plan: ClusterPlan, desired: Desired, observed: Observed, faults: Faults) -> None:
    """Raise InputError where a plan makes a machine whose volumes are of the other kind, and stay so."""
    steps = [step for step in plan.changes if step.kind == "machine" and step.action in BOOTS]
    machines = [desired.machines[step.name] for step in steps if step.name in desired.machines]
    if found := [text for machine in machines for text in kind_faults(machine, observed, faults)]:
        raise InputError(
            f"the cluster {desired.name} cannot be brought up like this",
            details="\n".join(found),
            resolution="do what it says, then run the command again",
        )


def _others(wanted: DesiredMachine, observed: Observed) -> dict[str, str]:
    kind = wanted.spec.volume_kind
    names = [mount.volume for mount in wanted.spec.volumes]
    return {name: kind for name in names if observed.kinds.get(name, kind) != kind}
