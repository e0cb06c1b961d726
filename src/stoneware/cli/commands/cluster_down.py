"""down: take a cluster down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options
from stoneware.cli.output import print_json, say
from stoneware.cli.parameters import Command, flag, option
from stoneware.ui.progress import Style

if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.cluster.directory import ClusterDirectory
    from stoneware.cluster.down import Removal


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
    With --volumes it asks first, and names
    the volumes.
    """
    from stoneware.cluster.down import DownOptions
    from stoneware.cluster.down import down as take_down
    from stoneware.rollout.lock import check_unlocked
    from stoneware.ui.displays import make_cluster_display

    found = clusters.source(file, project_name, env_file, project_directory)
    site = clusters.open_site()
    cluster = None if found.project and not found.files else clusters.load(clusters.whole(found))
    name = found.project if cluster is None else cluster.name
    wanted = DownOptions(volumes, timeout, lock_timeout, verbose)

    def guard(directory: ClusterDirectory) -> None:
        check_unlocked(directory)
        if cluster is not None:
            clusters.confirm_origin(cluster, directory, yes=yes)

    with make_cluster_display(progress, sys.stderr) as display:
        result = take_down(
            name,
            site,
            wanted,
            reporter=display,
            confirm=lambda removal: _confirm(removal, yes=yes),
            guard=guard,
        )
    if json_output:
        print_json({**vars(result), "seconds": round(result.seconds, 3)})
    elif progress is not Style.QUIET:
        kept = f"; kept: {', '.join(result.kept)}" if result.kept else ""
        say(f"{name} is down{kept}")


def _confirm(removal: Removal, *, yes: bool) -> None:
    names = ", ".join(removal.volumes)
    clusters.ask(
        f"Remove {names} and the data on them?",
        yes=yes,
        why=f"this would remove the data on {names}",
    )
