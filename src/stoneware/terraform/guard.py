"""The guard between a plan and its apply: it lets through only what the caller meant to change."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from stoneware.errors import StonewareError
from stoneware.terraform.results import Change, Plan


class PlanRefused(StonewareError):
    """A plan would do more than it may; nothing has been done. `violations` are sentences."""

    def __init__(self, violations: tuple[str, ...]) -> None:
        super().__init__(
            "refused to apply a plan that would do more than was asked for",
            details="\n".join(violations),
            resolution="stoneware plan -v    # shows everything that differs, and the plan of Terraform",
        )
        self.violations = violations


def check_plan(plan: Plan, *, allowed: AbstractSet[str], disk_types: AbstractSet[str]) -> None:
    """Raise PlanRefused unless a plan changes only `allowed` addresses and destroys no volume.

    `disk_types` are the resource types of volumes.

    An address allows what is below it: `module.kafka["kafka-1"]` allows all resources of that module
    instance. Reads, no-ops and imports are always allowed, as they touch nothing; what else is done to an
    object that is imported is not. Destroying a volume never is.
    """
    violations = [
        sentence for change in plan.changes for sentence in _violations(change, allowed, disk_types)
    ]
    # What Terraform puts off is in no plan that could be looked at.
    if not plan.complete:
        violations.append("the plan is incomplete: Terraform could not predict every change")
    if violations:
        raise PlanRefused(tuple(violations))


def _violations(change: Change, allowed: AbstractSet[str], disk_types: AbstractSet[str]) -> list[str]:
    if change.noop:
        return []
    found = []
    # What moves in the state is about both places.
    for address in filter(None, (change.address, change.previous_address)):
        if not _covered(address, allowed):
            found.append(f"{address} would be {_verb(change)}")
    if change.type in disk_types and change.deletes:
        found.append(f"{change.address} is a volume, and its data would be lost")
    return found


def _covered(address: str, allowed: AbstractSet[str]) -> bool:
    return any(address == name or address.startswith(f"{name}.") for name in allowed)


def _verb(change: Change) -> str:
    imported = ["imported"] if change.importing else []
    if change.replaces:
        because = f" because of {', '.join(change.replace_for)}" if change.replace_for else ""
        return " and ".join([*imported, f"replaced{because}"])
    words = {"create": "created", "update": "changed", "delete": "destroyed", "forget": "forgotten"}
    named = imported + [words[action] for action in change.actions if action in words]
    if change.previous_address:
        named.append("moved")
    return " and ".join(named) or "changed"
