"""A cluster's configuration as a directory of plain Terraform, which works without Stoneware."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stoneware.cluster.directory import VARIABLES_FILE, not_up
from stoneware.cluster.site import Site
from stoneware.errors import InputError
from stoneware.scratch import scratch_directory
from stoneware.terraform.configuration import write_configuration
from stoneware.terraform.runner import STATE_FILE

_SETTINGS = "settings.tf"
_README = """\
# {name}

The cluster {name} as Terraform has it: `{variables}` is what is declared, the other files are
the module that makes it.
{state}

    terraform init
    terraform plan      # nothing to change, until something has been changed
    terraform apply

Another image is another `image` of one machine in `{variables}`: apply one machine after the
other, and wait between them, for Terraform alone does not. Disks have `prevent_destroy`. Values of secrets
are not here: machines fetch them by their version.

Use either `stoneware up` or this directory: each of them takes back what the other one has changed.
"""
_SHARED = "The state and its lock are where Stoneware keeps them, so both see the same cluster."
_COPIED = f"`{STATE_FILE}` is a copy of the state as it was: Stoneware does not see what you apply here."


def eject(site: Site, name: str, target: Path) -> list[str]:
    """Write a cluster's configuration into a new directory; return the names of the files.

    It is what was applied last. Raises InputError for a cluster that is not up, and where there is something
    in the directory.
    """
    directory = site.directory(name)
    variables = directory.variables()
    if variables is None:
        raise not_up(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"there is something in {target} already", resolution="stoneware eject NEW-DIRECTORY"
        )
    infrastructure = site.platform.infrastructure
    backend = directory.records.backend()
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    # Next to the target: only within one file system does a rename put it there as a whole.
    with scratch_directory(f".{target.name}-eject-", target.absolute().parent) as scratch:
        made = scratch / "made"
        write_configuration(made, infrastructure.cluster_module, variables, variables_file=VARIABLES_FILE)
        (made / _SETTINGS).write_text(settings(infrastructure.root(), backend))
        text = _README.format(name=name, variables=VARIABLES_FILE, state=_SHARED if backend else _COPIED)
        (made / "README.md").write_text(text)
        if not backend:
            (made / STATE_FILE).write_bytes(directory.records.state())
            # Terraform's state has each attribute in plain text.
            (made / STATE_FILE).chmod(0o600)
        made.rename(target)  # an empty directory makes way
    return sorted(path.name for path in target.iterdir())


def settings(root: Mapping[str, Any], backend: Mapping[str, Any]) -> str:
    """Return what only the root of a configuration can say, as HCL."""
    blocks: list[str] = []
    for kind, values in backend.items():
        inner = "\n".join(f"    {line}" for line in _arguments(values))
        blocks.append(f'terraform {{\n  backend "{kind}" {{\n{inner}\n  }}\n}}\n')
    for name, values in root.get("provider", {}).items():
        inner = "\n".join(f"  {line}" for line in _arguments(values))
        blocks.append(f'provider "{name}" {{\n{inner}\n}}\n')
    return "\n".join(blocks)


def _arguments(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a block's arguments as `terraform fmt` writes them; JSON's texts and numbers are HCL's."""
    width = max(map(len, values), default=0)
    for name, value in sorted(values.items()):
        text = json.dumps(value).replace("${", "$${").replace("%{", "%%{")  # each begins a template in HCL
        yield f"{name:<{width}} = {text}"
