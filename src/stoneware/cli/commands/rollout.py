"""rollout: replace a running cluster machine by machine; pause, abort, resume, history, finalize."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options, rollouts
from stoneware.cli.commands.rollout_report import report
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Group, flag, option
from stoneware.dataclass import dataclass
from stoneware.ui.progress import Style, make_display

if TYPE_CHECKING:
    from stoneware.cluster.site import Site
    from stoneware.compose.model import Cluster
    from stoneware.rollout.history import RolloutHistory
    from stoneware.rollout.planner import Planned
    from stoneware.rollout.state import RolloutState


@click.group("rollout", cls=Group, invoke_without_command=True)
@options.cluster
@options.profile
@options.plan
@flag("--detailed-exitcode", "--exit-code", help="With --plan: exit with 5 for changes.")
@option("--canary", metavar="MACHINE", multiple=True, help="Begin with this machine, then hold. Repeatable.")
@flag("--canary-may-lead", help="Begin with the canary also where it leads its cluster.")
@flag("--yes", "-y", help="Do not ask, nor after the canary.")
@options.build
@options.lock_timeout
@options.progress
@options.verbose
@options.json_output
@click.pass_context
def rollout(
    context: click.Context,
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    profile: tuple[str, ...],
    plan: bool,
    detailed_exitcode: bool,
    canary: tuple[str, ...],
    canary_may_lead: bool,
    yes: bool,
    build: bool,
    lock_timeout: float,
    progress: Style,
    verbose: bool,
    json_output: bool,
) -> None:
    """Replace the machines of a running cluster, one by one, by what machines.yaml declares; disks are kept.

    Before a machine goes down, and until it is back, the gates of its service are asked. Where one fails,
    deploy.update_config says what happens: with failure_action rollback everything returns to what it
    was, and the exit code is 4. A rollout that is paused or was killed continues with `rollout resume`.
    """
    found = clusters.source(file, project_name, env_file, project_directory, profiles=profile)
    context.obj = found  # -f and -p may stand before a subcommand, which takes them from here
    if context.invoked_subcommand is not None:  # these need no file: the journal has the plan
        return
    cluster = clusters.load(found, making=True)
    for warning in cluster.warnings:
        say(f"warning: {warning}")
    site = clusters.open_site()
    if plan:
        planned = _preview(cluster, site, canary, insist=canary_may_lead)
        _show_plan(planned, len(cluster.machines), json_output=json_output, detailed=detailed_exitcode)
        return
    # Two files may have a cluster of one name: the other one's machines would be rolled to this file.
    clusters.confirm_origin(cluster, site.directory(cluster.name), yes=yes)
    wanted = _Wanted(canary, canary_may_lead, yes, build, verbose, lock_timeout, progress)
    state = _roll(cluster, site, wanted)
    if state is None:
        _tell_nothing(cluster, json_output=json_output)
        return
    rollouts.finish(state, site, cluster.name, json_output=json_output, quiet=rollouts.quiet(progress))


def _tell_nothing(cluster: Cluster, *, json_output: bool) -> None:
    if json_output:  # programs get a document where nothing is done, too
        print_json({"schema": 1, "cluster": cluster.name, "rollout": None, "driver": None})
    count = len(cluster.machines)
    say(f"nothing to do: {count} machine{'' if count == 1 else 's'} as declared")


@dataclass(frozen=True)
class _Wanted:
    """The options that a rollout itself has."""

    canary: tuple[str, ...]
    canary_may_lead: bool
    yes: bool
    build: bool
    verbose: bool
    lock_timeout: float
    progress: Style


def _preview(cluster: Cluster, site: Site, canary: tuple[str, ...], *, insist: bool) -> Planned:
    from stoneware.rollout.prepare import preview, unfinished
    from stoneware.rollout.session import latest

    clusters.note_origin(cluster, site)
    planned = preview(cluster, site, os.environ, canary=canary, insist=insist)
    # A preview takes no lock, so it can be had while a rollout is under way.
    going = latest(site.directory(cluster.name))
    if going is not None and unfinished(going):
        say(f"the rollout {going.id} has not ended: stoneware rollout status")
    return planned


def _roll(cluster: Cluster, site: Site, wanted: _Wanted) -> RolloutState | None:
    """Plan the rollout under its lock and drive it; None where there is nothing to do."""
    from stoneware.rollout.prepare import prepare
    from stoneware.ui.displays import make_rollout_display

    def plan() -> Planned:
        return prepare(
            cluster,
            site,
            os.environ,
            canary=wanted.canary,
            insist=wanted.canary_may_lead,
            bakes=(lambda: make_display(wanted.progress, sys.stderr)) if wanted.build else None,
            verbose=wanted.verbose,
        )

    with (
        make_rollout_display(wanted.progress, sys.stderr) as display,
        rollouts.session_of(
            site,
            cluster.name,
            "stoneware rollout",
            display,
            yes=wanted.yes,
            verbose=wanted.verbose,
            lock_timeout=wanted.lock_timeout,
        ) as session,
    ):
        return session.begin(plan, told=lambda planned: display.planned(planned, len(cluster.machines)))


def _show_plan(planned: Planned, machines: int, *, json_output: bool, detailed: bool) -> None:
    from stoneware.rollout.documents import planned_document
    from stoneware.rollout.session import RolloutBlocked
    from stoneware.ui.rollout import plan_summary, plan_text

    if json_output:
        print_json(planned_document(planned))
    else:
        sys.stdout.write(plan_text(planned))
        say(plan_summary(planned, machines))
        for note in planned.notes:
            say(note)
    # Shown all the same: the plan says what is in the way.
    if planned.blocked:
        raise RolloutBlocked(planned)
    if detailed and not planned.nothing:
        raise click.exceptions.Exit(rollouts.DIFFERENT)


def _row(site: Site, cluster: str, rollout_id: str = "") -> RolloutHistory:
    """Return a rollout of a cluster, the last one unless it is named. Raises InputError."""
    from stoneware.rollout.history import history
    from stoneware.rollout.journal import journal_of

    rows = {row.id: row for row in history(journal_of(site.directory(cluster)).read(), time.time())}
    return rows[rollouts.chosen(rollout_id, list(rows), cluster)]


@rollout.command("status")
@options.cluster_file
@options.json_output
@click.pass_context
def status(context: click.Context, file: tuple[Path, ...], project_name: str, json_output: bool) -> None:
    """Show how the last rollout is, machine by machine, and what it waits for."""
    from stoneware.rollout.documents import status_document
    from stoneware.rollout.lock import read_lock
    from stoneware.ui.rollout import status_text

    name = rollouts.name_of(context, file, project_name)
    site = clusters.open_site()
    row = _row(site, name)
    # A mark may be left for an instant after the end: the journal's word is the last.
    lock = read_lock(site.directory(name)) if row.ended is None else None
    if json_output:
        print_json(status_document(name, row, lock))
    else:
        sys.stdout.write(status_text(row, lock))


@rollout.command("history")
@options.cluster_file
@options.json_output
@click.pass_context
def history(context: click.Context, file: tuple[Path, ...], project_name: str, json_output: bool) -> None:
    """List all rollouts of a cluster: who, when, to what, how long, how it ended."""
    from stoneware.rollout.documents import history_document
    from stoneware.rollout.history import history as rows_of
    from stoneware.rollout.journal import journal_of
    from stoneware.ui.rollout import history_text

    name = rollouts.name_of(context, file, project_name)
    site = clusters.open_site()
    rows = rows_of(journal_of(site.directory(name)).read(), time.time())
    if json_output:
        print_json(history_document(name, rows))
    elif rows:
        sys.stdout.write(history_text(rows))
    else:
        say(f"the cluster {name} had no rollout yet")


@rollout.command("pause")
@options.cluster_file
@click.pass_context
def pause(context: click.Context, file: tuple[Path, ...], project_name: str) -> None:
    """Pause the rollout after its current machines; `resume` continues."""
    _ask(context, file, project_name, "pause")


@rollout.command("abort")
@options.cluster_file
@click.pass_context
def abort(context: click.Context, file: tuple[Path, ...], project_name: str) -> None:
    """End the rollout after its current machines, and leave all machines as they are."""
    _ask(context, file, project_name, "abort")


def _ask(context: click.Context, files: tuple[Path, ...], project: str, what: str) -> None:
    from stoneware.ui.displays import make_rollout_display

    site = clusters.open_site()
    name = rollouts.name_of(context, files, project, site)
    display = make_rollout_display(Style.QUIET, sys.stderr)  # the rollout itself is shown by its driver
    with rollouts.session_of(site, name, f"stoneware rollout {what}", display) as session:
        say(session.pause() if what == "pause" else session.abort())


@rollout.command("resume")
@options.cluster_file
@flag("--yes", "-y", help="Continue after the canary without asking.")
@options.lock_timeout
@options.progress
@options.verbose
@options.json_output
@click.pass_context
def resume(
    context: click.Context,
    file: tuple[Path, ...],
    project_name: str,
    *,
    yes: bool,
    lock_timeout: float,
    progress: Style,
    verbose: bool,
    json_output: bool,
) -> None:
    """Continue a rollout that is paused, holds after its canary, or whose driver was killed.

    Machines that failed are tried once more. No options are needed: the journal has the plan.
    """
    from stoneware.ui.displays import make_rollout_display

    site = clusters.open_site()
    name = rollouts.name_of(context, file, project_name, site)
    with (
        make_rollout_display(progress, sys.stderr) as display,
        rollouts.session_of(
            site,
            name,
            "stoneware rollout resume",
            display,
            yes=yes,
            verbose=verbose,
            lock_timeout=lock_timeout,
        ) as session,
    ):
        state = session.resume()
    rollouts.finish(state, site, name, json_output=json_output, quiet=rollouts.quiet(progress))


@rollout.command("finalize")
@options.cluster_file
@flag("--now", help="Do not wait for x-stoneware.finalize_after.")
@options.plan
@options.yes
@options.lock_timeout
@options.json_output
@click.pass_context
def finalize(
    context: click.Context,
    file: tuple[Path, ...],
    project_name: str,
    *,
    now: bool,
    plan: bool,
    yes: bool,
    lock_timeout: float,
    json_output: bool,
) -> None:
    """Pass the point of no return: run the images' LABEL stoneware.finalize, once, in one machine.

    Only after the last rollout was completed and while every machine is healthy. From then on no machine
    goes back below the images' LABEL stoneware.rollback-floor.
    """
    from stoneware.rollout.finalize import check_due, preview_finalize
    from stoneware.rollout.finalize import finalize as pass_point

    site = clusters.open_site()
    name = rollouts.name_of(context, file, project_name, site)
    preview = preview_finalize(site, name)
    left = preview.open
    if plan:
        if json_output:
            print_json([dict(vars(step)) | {"done": step.done is not None} for step in preview.steps])
        for step in () if json_output else preview.steps:
            state = "finalized already" if step.done else f"to run in {step.machine}: {step.command or '-'}"
            print_line(f"{step.service} {step.version or step.image} floor {step.floor or '-'}: {state}")
        return
    if left:
        check_due(preview, now=now)  # before the question: it would be asked for nothing
        floors = ", ".join(f"{step.service} below {step.floor}" for step in left if step.floor)
        why = f"there is no way back{f' for {floors}' if floors else ''}"
        clusters.ask(f"Finalize? {why[0].upper()}{why[1:]}.", yes=yes, why=f"this finalizes: {why}")
    done = pass_point(site, name, now=now, lock_timeout=lock_timeout)
    if json_output:
        print_json([dict(vars(item)) for item in done])
    for item in done:
        floor = f"; the lowest version is {item.floor} now" if item.floor else ""
        say(f"{item.service} is finalized{floor}")
    if not done:
        say("there is nothing to finalize")


rollout.add_command(report)
