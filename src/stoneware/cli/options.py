"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stoneware.cli import complete

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="KEY[=VALUE]", help="Set a value; KEY alone takes ours. Repeatable."),
]
EnvFiles = Annotated[
    list[Path] | None,
    typer.Option("--env-file", metavar="FILE", help="Read values from a file, as Docker does. Repeatable."),
]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="MACHINE", help="Names or ids; short names in a cluster.", autocompletion=complete.machines
    ),
]
Image = Annotated[
    str,
    typer.Argument(metavar="IMAGE", help="NAME, NAME:TAG, or an id.", autocompletion=complete.images),
]
Machine = Annotated[
    str,
    typer.Argument(
        metavar="MACHINE",
        help="A name or an id; a short name in a cluster.",
        autocompletion=complete.machines,
    ),
]
