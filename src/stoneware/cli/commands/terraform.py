"""terraform install: the provider for one's own Terraform."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoneware import __version__
from stoneware.cli import options
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Group, option

if TYPE_CHECKING:
    from collections.abc import Mapping

# Terraform's names of architectures.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_HCL = """\
terraform {{
  required_providers {{
    stoneware = {{
      source  = "{source}"
      version = "{version}"
    }}
  }}
}}"""


@click.group("terraform", cls=Group)
def terraform() -> None:
    """Use Stoneware from your own Terraform configurations."""


@terraform.command(
    "install",
    help="Put the provider where every Terraform on this computer finds it, and print how to name it.",
)
@option(
    "--directory",
    metavar="DIR",
    kind=Path,
    help="The file-system mirror (default: ~/.terraform.d/plugins, which Terraform reads by itself).",
)
@options.json_output
def install(directory: Path | None, json_output: bool) -> None:
    """Put the provider where every Terraform on this computer finds it, and print how to name it."""
    from stoneware.terraform.runner import SOURCE

    mirror = directory or Path.home() / ".terraform.d" / "plugins"
    path = executable(mirror.absolute(), SOURCE)
    changed = _write(path)
    hcl = _HCL.format(source=SOURCE, version=__version__)
    if json_output:
        print_json(
            {
                "path": str(path),
                "source": SOURCE,
                "version": __version__,
                "changed": changed,
                "configuration": hcl,
            }
        )
        return
    say(f"{'installed' if changed else 'already there:'} {path}")
    for sentence in _hints(directory, os.environ):
        say(sentence)
    print_line(hcl)


def executable(mirror: Path, source: str) -> Path:
    """Return where Terraform looks for the provider in a file-system mirror."""
    machine = platform.machine()
    target = f"{sys.platform}_{_ARCHITECTURES.get(machine, machine)}"
    return mirror / source / __version__ / target / f"terraform-provider-stoneware_v{__version__}"


def _write(path: Path) -> bool:
    """Write the executable unless it is there as it should be, and say whether it was written."""
    from stoneware.files import write_atomic

    text = (
        "#!/bin/sh\n"
        f"# The provider of the Stoneware that is installed in {sys.prefix}\n"
        # With -P nothing of the directory that Terraform runs in is imported.
        f'exec {shlex.quote(sys.executable)} -P -m stoneware.cli.provider "$@"\n'
    )
    if path.is_file() and path.read_text() == text and os.access(path, os.X_OK):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text, mode=0o755)
    return True


def _hints(directory: Path | None, environment: Mapping[str, str]) -> list[str]:
    """Return what Terraform has to be told so that it looks there."""
    settings = Path(environment.get("TF_CLI_CONFIG_FILE") or Path.home() / ".terraformrc")
    try:
        # With such a block Terraform looks only where it says.
        configured = "provider_installation" in settings.read_text()
    except OSError:
        configured = False
    where = directory.absolute() if directory else "~/.terraform.d/plugins"
    if configured:
        return [f"{settings} has a provider_installation: let its filesystem_mirror be {where}"]
    if directory is not None:
        return [f"for `terraform init`: -plugin-dir={where}"]
    return []
