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
Services = Annotated[
    list[str],
    typer.Argument(
        metavar="MACHINE",
        help="Names, ids, or short names and services of a cluster.",
        autocompletion=complete.machines,
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

WaitFor = Annotated[
    float | None,
    typer.Option(
        "--wait-for",
        metavar="SECONDS",
        min=0,
        help="Wait; without a health check, until it has been up for so long. [default: 2.0]",
    ),
]
_SETTLE = 2.0  # seconds after which a service that cannot work has mostly ended


def settle_time(*, wait: bool, wait_for: float | None) -> float | None:
    """Return how many seconds a machine without a health check has to be up, None where nobody waits."""
    if wait_for is not None:
        return wait_for
    return _SETTLE if wait else None
