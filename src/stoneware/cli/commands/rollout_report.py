"""rollout report: a rollout as one page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options, rollouts
from stoneware.cli.output import print_line
from stoneware.cli.parameters import Command, argument, option
from stoneware.errors import InputError
from stoneware.files import write_atomic

if TYPE_CHECKING:
    from stoneware.cluster.site import Site
    from stoneware.rollout.model import RolloutPlan


@click.command("report", cls=Command)
@argument(
    "rollout",
    metavar="ROLLOUT",
    required=False,
    default="",
    help="Which one, such as r2; the last one unless named.",
)
@options.cluster_file
@option("--output", "-o", metavar="FILE", kind=Path, help="The file; default: CLUSTER-ROLLOUT.html here.")
@option("--probe", metavar="CURVE", kind=Path, help="Draw a load probe's JSON lines below the time line.")
@click.pass_context
def report(
    context: click.Context,
    rollout: str,
    *,
    file: tuple[Path, ...],
    project_name: str,
    output: Path | None,
    probe: Path | None,
) -> None:
    """Write a rollout as one HTML page: the plan, each machine's time line, waits at gates, the load.

    The page needs no other file, and can be printed. A probe's lines have `time` (seconds since the epoch),
    `acked` and `latency_ms`, one for each second.
    """
    from stoneware.rollout.journal import journal_of, rollout_ids
    from stoneware.rollout.report import read_load, render
    from stoneware.rollout.timeline import timeline

    name = rollouts.name_of(context, file, project_name)
    site = clusters.open_site()
    journal = journal_of(site.directory(name))
    wanted = rollouts.chosen(rollout, rollout_ids(journal.read()), name)
    found = timeline(journal.of(wanted), time.time())
    if found is None:
        raise InputError(f"the journal {journal.place} does not say how {wanted} began")
    try:
        load = read_load(probe) if probe else ()
    # Another program has written the file: whatever is wrong with its lines is said in one way.
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{probe} is no load curve: {error}",
            details='It has lines such as {"time": 1700000000.0, "acked": 300, "latency_ms": 12.5}.',
        ) from error
    path = output or Path(f"{name}-{wanted}.html")
    page = render(found, load=load, commits=_commits(found.state.plan, site))
    try:
        write_atomic(path, page)
    except OSError as error:
        raise InputError(f"the report cannot be written to {path}: {error.strerror}") from error
    print_line(str(path))


def _commits(plan: RolloutPlan, site: Site) -> dict[str, str]:
    """Return the Git commits of a plan's images that are there, by image id."""
    there = set(site.store.image_ids())  # one may have been removed since
    used = {release.image_id for one in plan.changes for release in (one.before, one.after) if release}
    found = {image: site.store.manifest(image)["commit"] for image in used & there}
    return {image: str(commit) for image, commit in found.items() if commit}
