"""What went wrong with a builder's work: a step, the checks of the image, the builder itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from stoneware.bake.console import CheckLine
from stoneware.bake.plan import PlannedStep
from stoneware.errors import BuildError, MachineError
from stoneware.guest.reports import BuildReport
from stoneware.machinefile.recipe import RunStep, Step
from stoneware.model.guest_protocol import FOR_AGENT


def step_error(
    planned: PlannedStep,
    report: BuildReport,
    tail: Iterable[str],
    served: Collection[str],
    *,
    kept: bool,
) -> BuildError:
    """Return the error of a failed step.

    `tail` is the end of its output, `served` the names by which its secrets were served; `kept`: steps are.
    """
    step = planned.step
    # A program that lacks a secret seldom says so.
    missing = _secrets_not_given(step, served)
    output = "\n".join(f"  {line}" for line in tail)
    lacked = [f"  the step ran without the secret {name!r}, which was not given" for name in missing]
    again = [
        f"stoneware bake --secret id={name},src=FILE …    # gives it to the step; "
        f"for a service of a cluster: build: {{secrets: [{name}]}}"
        for name in missing
    ]
    rest = "fix the step and bake again"
    if kept:
        rest += (
            ": the steps before this one are kept. "
            "To open a shell in the failed builder: stoneware bake --on-failure shell …"
        )
    return BuildError(
        f"step {step.index} of stage {step.stage!r} failed with exit code {report.exit_code}",
        details="\n".join(filter(None, [f"  {step.line} | {step.text}", *lacked, report.message, output])),
        resolution="\n".join([*again, rest]),
        location=planned.location,
    )


def not_kept_error(planned: PlannedStep, error: MachineError) -> BuildError:
    """Return the error of a step that succeeded and whose checkpoint could not be taken."""
    step = planned.step
    return BuildError(
        f"step {step.index} of stage {step.stage!r} cannot be kept: {error.brief}",
        details=f"  {step.line} | {step.text}\n{error.details}",
        resolution=error.resolution,
        location=planned.location,
    )


def checks_error(failed: Sequence[CheckLine]) -> BuildError:
    """Return the error of an image that did not pass its checks."""
    return BuildError(
        f"the image did not pass {len(failed)} of its checks: {', '.join(check.name for check in failed)}",
        details="\n".join(f"  {check.name}: {check.detail}" for check in failed),
        resolution="remove what was found (a machine has no layers: a later step may do it), "
        "or --skip-check NAME; stoneware bake --list-checks says what each is for",
    )


def removed_error(builder: str, *, kept: bool) -> BuildError:
    """Return the error of a builder that somebody has removed; `kept`: steps are."""
    return BuildError(
        "the builder was removed before its work was done",
        details=f"somebody removed the machine {builder}",
        resolution="bake again: the steps that were done are kept" if kept else "bake again",
    )


def _secrets_not_given(step: Step, served: Collection[str]) -> list[str]:
    """Return the ids of a step's optional secrets that the bake was not given."""
    if not isinstance(step, RunStep):
        return []
    ids = dict.fromkeys(mount.id for mount in step.mounts if mount.type == "secret")
    return [name for name in ids if f"{FOR_AGENT}{name}" not in served]
