"""rollback: return a cluster to the release it had."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options, rollouts
from stoneware.cli.output import print_json, say
from stoneware.cli.parameters import Command, argument, flag
from stoneware.errors import InputError
from stoneware.ui.progress import Style

if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.cluster.site import Site
    from stoneware.rollout.planner import Planned
    from stoneware.rollout.state import RolloutState


@click.command("rollback", cls=Command)
@argument(
    "release",
    metavar="RELEASE",
    required=False,
    default="",
    help="A rollout, such as r2: how it was after it; r0: before all.",
)
@options.cluster
@flag("--plan", help="Show the plan; change nothing.")
@options.lock_timeout
@options.progress
@options.verbose
@options.json_output
def rollback(
    release: str,
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    plan: bool,
    lock_timeout: float,
    progress: Style,
    verbose: bool,
    json_output: bool,
) -> None:
    """Return a cluster to the release it had: image and config, machine by machine, with their disks.

    A rollout that has not ended is returned; otherwise all becomes what it was before the last one, or
    what it was after RELEASE. Where the last one has returned by itself there is nothing to do. It is
    refused below a point of no return that was finalized.
    """
    from stoneware.rollout.cluster_fleet import read_variables
    from stoneware.rollout.prepare import unfinished
    from stoneware.rollout.returning import prepare_return
    from stoneware.rollout.session import latest

    site = clusters.open_site()
    name = clusters.name_of(clusters.source(file, project_name, env_file, project_directory), site)
    read_variables(site.directory(name))  # the cluster is up
    going = latest(site.directory(name))
    # A rollout that has not ended is what a rollback returns, so nothing else can be planned or named.
    if plan or (release and unfinished(going)):
        if going is not None and unfinished(going):
            raise _unfinished(name, going.id)
        _show(prepare_return(site, name, release), json_output=json_output)
        return
    returns = unfinished(going)
    state, notes = _return(
        site, name, release, progress, returns=returns, verbose=verbose, lock_timeout=lock_timeout
    )
    if state is None:
        for line in (_nothing(name, asked=returns), *notes):
            say(line)
        return
    quiet = rollouts.quiet(progress)
    rollouts.finish(state, site, name, json_output=json_output, quiet=quiet, returning=returns)


def _return(
    site: Site,
    name: str,
    release: str,
    progress: Style,
    *,
    returns: bool,
    verbose: bool,
    lock_timeout: float,
) -> tuple[RolloutState | None, list[str]]:
    """Return the rollout that has not ended where `returns`, else roll back to `release`; also the notes."""
    from stoneware.rollout.returning import prepare_return
    from stoneware.ui.displays import make_rollout_display

    notes: list[str] = []

    def plan_now() -> Planned:
        planned = prepare_return(site, name, release)
        notes[:] = planned.notes  # for the case that there is nothing to do, and no display to show them
        return planned

    with (
        make_rollout_display(progress, sys.stderr) as display,
        rollouts.session_of(
            site, name, "stoneware rollback", display, yes=True, verbose=verbose, lock_timeout=lock_timeout
        ) as session,
    ):

        def told(planned: Planned) -> None:
            display.planned(planned, len(planned.plan.changes))

        state = session.roll_back() if returns else session.begin(plan_now, kind="rollback", told=told)
    return state, notes


def _nothing(cluster: str, *, asked: bool) -> str:
    if asked:
        return "asked the driver of the rollout to return what it has changed: stoneware rollout status"
    return f"nothing to do: the cluster {cluster} is as it was then"


def _unfinished(cluster: str, rollout: str) -> InputError:
    return InputError(
        f"the rollout {rollout} of the cluster {cluster} has not ended: only it can be returned now",
        resolution="stoneware rollback    # returns what it has changed",
    )


def _show(planned: Planned, *, json_output: bool) -> None:
    from stoneware.rollout.documents import planned_document
    from stoneware.rollout.session import RolloutBlocked
    from stoneware.ui.rollout import plan_summary, plan_text

    if json_output:
        print_json(planned_document(planned))
    else:
        sys.stdout.write(plan_text(planned))
        nothing = _nothing(planned.plan.cluster, asked=False)
        say(nothing if planned.nothing else plan_summary(planned, len(planned.plan.changes)))
        for note in planned.notes:
            say(note)
    # Shown all the same: the plan says what is in the way.
    if planned.blocked:
        raise RolloutBlocked(planned, "stoneware rollback")
