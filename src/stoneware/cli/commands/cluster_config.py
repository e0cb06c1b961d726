"""config: the cluster's file as Stoneware reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stoneware.cli import clusters, options
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Command, flag


@click.command("config", cls=Command)
@options.cluster
@options.profile
@flag("--quiet", "-q", help="Check the file, print nothing.")
@flag("--services", help="Print the services' names.")
@flag("--volumes", help="Print the volumes' names.")
@flag("--images", help="Print the images' names.")
@options.json_output
def config(
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    profile: tuple[str, ...],
    quiet: bool,
    services: bool,
    volumes: bool,
    images: bool,
    json_output: bool,
) -> None:
    """Print machines.yaml as Stoneware reads it: files merged, variables filled in, replicas written out."""
    cluster = clusters.load(
        clusters.source(file, project_name, env_file, project_directory, profiles=profile)
    )
    for warning in cluster.warnings:
        say(f"warning: {warning}")
    if quiet:
        return
    if services or volumes or images:
        names = [*cluster.services] if services else []
        names += [*cluster.volumes] if volumes else []
        names += sorted({service.image for service in cluster.services.values()}) if images else []
        for name in names:
            print_line(name)
        return
    from stoneware.compose.resolved import to_document, to_yaml

    document = to_document(cluster)
    if json_output:
        print_json(document)
    else:
        sys.stdout.write(to_yaml(document))
