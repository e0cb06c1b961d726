"""config: the cluster's file as it is understood."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stoneware.cli import clusters, options
from stoneware.cli.output import print_json, print_line, say


def config(
    file: clusters.Files = None,
    project_name: clusters.Project = "",
    env_file: clusters.ValueFiles = None,
    project_directory: clusters.Directory = None,
    *,
    profile: clusters.Profiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Check the file, print nothing.")] = False,
    services: Annotated[bool, typer.Option("--services", help="Print the services' names.")] = False,
    volumes: Annotated[bool, typer.Option("--volumes", help="Print the volumes' names.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Print the images' names.")] = False,
    json_output: options.Json = False,
) -> None:
    """Print machines.yaml as it is understood: files merged, variables filled in, replicas written out."""
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
