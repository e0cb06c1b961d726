"""down: take a cluster down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options
from stoneware.cli.commands.volume_snapshots import snapshots_stay
from stoneware.cli.output import print_json, say
from stoneware.cli.parameters import Command, flag, option
from stoneware.ui.progress import Style

if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.cluster.directory import ClusterDirectory
    from stoneware.cluster.down import DownOptions, DownResult, Removal
    from stoneware.cluster.site import Site
    from stoneware.compose.naming import Named


@click.command("down", cls=Command)
@options.cluster
@flag("--volumes", "-v", help="Remove the volumes and their data, too.")
@options.yes
@option("--timeout", "-t", metavar="SECONDS", kind=float, low=0, help="Seconds the machines get to stop.")
@options.lock_timeout
@options.progress
@flag("--verbose", help="Show the output of Terraform, too.")
@options.json_output
def down(
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    volumes: bool,
    yes: bool,
    timeout: float | None,
    lock_timeout: float,
    progress: Style,
    verbose: bool,
    json_output: bool,
) -> None:
    """Take the cluster down; its volumes are kept.

    Its machines and networks are removed. Machines stop in the reverse order of their dependencies.
    With --volumes it asks first, and names the volumes; their snapshots stay.
    """
    from stoneware.cluster.down import DownOptions

    found = clusters.source(file, project_name, env_file, project_directory)
    site = clusters.open_site()
    # With -p no file is needed, and none but its name: what is to go is what is there.
    cluster = None if found.project and not found.files else clusters.named(found)
    name = found.project if cluster is None else cluster.name
    wanted = DownOptions(volumes, timeout, lock_timeout, verbose)
    result = _down(name, cluster, site, wanted, progress, yes=yes)
    _finish(result, json_output=json_output, quiet=progress is Style.QUIET)


def _down(
    name: str, cluster: Named | None, site: Site, wanted: DownOptions, progress: Style, *, yes: bool
) -> DownResult:
    from stoneware.cluster.down import down
    from stoneware.rollout.lock import check_unlocked
    from stoneware.ui.displays import make_cluster_display

    # Called under the cluster's lock: only then can a mark be known to be left by a kill.
    def guard(directory: ClusterDirectory) -> None:
        check_unlocked(directory)
        if cluster is not None:  # with -p there is no file that could be another cluster's
            clusters.confirm_origin(cluster, directory, yes=yes)

    with make_cluster_display(progress, sys.stderr) as display:
        return down(
            name,
            site,
            wanted,
            reporter=display,
            confirm=lambda removal: _confirm(removal, yes=yes),
            guard=guard,
        )


def _finish(result: DownResult, *, json_output: bool, quiet: bool) -> None:
    if json_output:
        print_json({**vars(result), "seconds": round(result.seconds, 3)})
    elif not quiet:
        kept = f"; kept: {', '.join(result.kept)}" if result.kept else ""
        say(f"{result.cluster} is down{kept}")
        for volume, names in result.snapshots.items():
            say(snapshots_stay(volume, names))


def _confirm(removal: Removal, *, yes: bool) -> None:
    names = ", ".join(removal.volumes)
    clusters.ask(
        f"Remove {names} and the data on them?",
        yes=yes,
        why=f"this would remove the data on {names}",
    )
