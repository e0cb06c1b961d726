"""down: take a cluster down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stoneware.cli import clusters, options
from stoneware.cli.output import print_json, say
from stoneware.ui.progress import Style

if TYPE_CHECKING:
    from stoneware.cluster.directory import ClusterDirectory
    from stoneware.cluster.down import Doomed


def down(
    file: clusters.Files = None,
    project_name: clusters.Project = "",
    env_file: clusters.ValueFiles = None,
    project_directory: clusters.Directory = None,
    *,
    volumes: Annotated[
        bool, typer.Option("--volumes", "-v", help="The volumes and the data on them as well.")
    ] = False,
    yes: clusters.Yes = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", "-t", metavar="SECONDS", min=0, help="Seconds the machines get to stop."),
    ] = None,
    lock_timeout: clusters.LockTimeout = 0.0,
    progress: Annotated[Style, typer.Option("--progress", help="How to show what is done.")] = Style.AUTO,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Terraform says as well.")] = False,
    json_output: options.Json = False,
) -> None:
    """Take the cluster down; its volumes are kept.

    Its machines and networks are removed. Machines stop in the reverse order of their dependencies.
    With --volumes it asks first, and names
    the volumes.
    """
    from stoneware.cluster.down import DownOptions
    from stoneware.cluster.down import down as take_down
    from stoneware.rollout.lock import check_unlocked
    from stoneware.ui.cluster import make_cluster_display

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
            confirm=lambda doomed: _confirm(doomed, yes=yes),
            guard=guard,
        )
    if json_output:
        print_json({**vars(result), "seconds": round(result.seconds, 3)})
    elif progress is not Style.QUIET:
        kept = f"; kept: {', '.join(result.kept)}" if result.kept else ""
        say(f"{name} is down{kept}")


def _confirm(doomed: Doomed, *, yes: bool) -> None:
    names = ", ".join(doomed.volumes)
    clusters.ask(
        f"Remove {names} and the data on them?",
        yes=yes,
        why=f"this would remove the data on {names}",
    )
