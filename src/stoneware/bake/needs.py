"""What a bake asks of a platform that not every one can do."""

from __future__ import annotations

from collections.abc import Iterator

from stoneware.bake.options import BakeOptions, OnFailure
from stoneware.bake.plan import BakePlan, PlannedStage, PlannedStep
from stoneware.machinefile.recipe import RunStep
from stoneware.model.capability import Capability, Need


def needs_of(plan: BakePlan, options: BakeOptions, filename: str) -> Iterator[Need]:
    """Yield what the steps that are to run take, each with its place in the Machinefile."""
    # An image that is there needs no builder, whatever its Machinefile takes.
    if not plan.builds:
        return
    if options.on_failure is OnFailure.SHELL:
        yield Need(Capability.COMMANDS, "--on-failure shell", "--on-failure stop")
    stages = {stage.name for stage in plan.stages}
    for stage in plan.builds:
        if _is_from_a_stage(stage):
            place = f"{filename}:{stage.stage.line}"
            yield Need(Capability.STAGES, place, "write the steps of both stages into one")
        for planned in stage.to_run:
            yield from _needs_of_step(planned, stages)


def _is_from_a_stage(stage: PlannedStage) -> bool:
    # With a checkpoint of its own, its builder does not begin at the other stage.
    return stage.stage.base.kind == "stage" and len(stage.to_run) == len(stage.steps)


def _needs_of_step(planned: PlannedStep, stages: set[str]) -> Iterator[Need]:
    step = planned.step
    if isinstance(step, RunStep) and any(mount.type == "cache" for mount in step.mounts):
        yield Need(Capability.CACHES, planned.location, "leave --mount=type=cache out")
    if isinstance(step, RunStep) and any(mount.type == "secret" for mount in step.mounts):
        yield Need(Capability.STEP_SECRETS, planned.location, "leave --mount=type=secret out")
    # Images of --from are among these too, and take no other stage.
    if stages & set(planned.document["stages"]):
        yield Need(Capability.STAGES, planned.location, "write the steps of both stages into one")
