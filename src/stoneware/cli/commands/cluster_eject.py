"""eject: a cluster's configuration as plain Terraform."""

from __future__ import annotations

from pathlib import Path

import click

from stoneware.cli import clusters, options
from stoneware.cli.output import print_line, say
from stoneware.cli.parameters import Command, argument


@click.command("eject", cls=Command)
@argument("directory", metavar="DIR", kind=Path, help="Where to write it: a new directory, or an empty one.")
@options.cluster
def eject(
    directory: Path,
    *,
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
) -> None:
    """Write a cluster's configuration as plain Terraform.

    It works without Stoneware: the module, what was declared last, and where the state is. `terraform init`
    and `terraform plan` in the directory find nothing to change. Names of the files are printed.
    """
    from stoneware.cluster.eject import eject as write

    site = clusters.open_site()
    source = clusters.source(file, project_name, env_file, project_directory)
    name = clusters.name_of(source, site)
    for written in write(site, name, directory):
        print_line(written)
    say(f"{directory}: terraform -chdir={directory} init && terraform -chdir={directory} plan")
