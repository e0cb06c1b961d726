"""Options that several commands share, declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stoneware.cli import complete
from stoneware.cli.parameters import F, argument, flag, option

json_output = flag("--json", "json_output", help="Print JSON.")
quiet = flag("--quiet", "-q", help="Print ids only.")
verbose = flag("--verbose", "-v", help="Show the output of Terraform, too.")
yes = flag("--yes", "-y", help="Do not ask.")
plan = flag("--plan", help="Show the plan; change nothing.")

env = option(
    "--env",
    "-e",
    metavar="KEY[=VALUE]",
    multiple=True,
    help="Set a value; KEY alone: from the environment. Repeatable.",
)
env_file = option(
    "--env-file",
    metavar="FILE",
    kind=Path,
    multiple=True,
    help="Read values from a file, as Docker does. Repeatable.",
)

_PLATFORM = "Where: local or google. [default: that of stoneware.toml, else local]"
platform = option("--platform", metavar="NAME", help=_PLATFORM)


def _choose(name: str) -> None:
    from stoneware.cli import context

    context.choose(name)


# For commands that need not know it: from here on theirs is that platform.
on_platform = option("--platform", metavar="NAME", help=_PLATFORM, then=_choose)

tty = flag("--tty", "-t", help="Allocate a terminal.")
interactive = flag("--interactive", "-i", help="Pass standard input to the command.")
user = option("--user", "-u", metavar="USER[:GROUP]", default="", help="Run as this user.")
workdir = option("--workdir", "-w", metavar="DIR", default="", help="Run in this directory.")

machine = argument(
    "machine",
    metavar="MACHINE",
    offers=complete.machines,
    help="A name or an id; a short name in a cluster.",
)
machines = argument(
    "machines",
    metavar="MACHINE",
    many=True,
    offers=complete.machines,
    help="Names or ids; short names in a cluster.",
)
machines_or_services = argument(
    "machines",
    metavar="MACHINE",
    many=True,
    offers=complete.machines,
    help="Names, ids, or short names and services of a cluster.",
)
image = argument("image", metavar="IMAGE", offers=complete.images, help="NAME, NAME:TAG, or an id.")

_file = option(
    "--file",
    "-f",
    metavar="FILE",
    kind=Path,
    multiple=True,
    help="The cluster's file (machines.yaml). Repeatable.",
)
_project_name = option(
    "--project-name", "-p", metavar="NAME", default="", help="Another name for the cluster."
)
_variables = option(
    "--env-file",
    metavar="FILE",
    kind=Path,
    multiple=True,
    help="Read variables from it instead of .env. Repeatable.",
)
_project_directory = option(
    "--project-directory", metavar="DIR", kind=Path, help="Where relative paths of the file begin."
)
scale = option("--scale", metavar="SERVICE=N", multiple=True, help="Set the number of replicas. Repeatable.")
profile = option(
    "--profile",
    metavar="NAME",
    multiple=True,
    help="Services of this profile too; * for all. Repeatable.",
)
build = flag(
    "--build/--no-build", default=True, help="Bake images whose Machinefile or files changed, or do not."
)
lock_timeout = option(
    "--lock-timeout",
    metavar="SECONDS",
    kind=float,
    low=0,
    default=0.0,
    help="Seconds to wait for another command that changes the cluster.",
)

wait_for = option(
    "--wait-for",
    metavar="SECONDS",
    kind=float,
    low=0,
    help="Wait; without a health check, until it has been up for so long. [default: 2.0]",
)


def cluster_file(function: F) -> F:
    """Declare what names a cluster: `file` and `project_name`."""
    return _all_of(_file, _project_name, on_platform)(function)


def cluster(function: F) -> F:
    """Declare all that says which cluster is meant: besides those `env_file` and `project_directory`."""
    return _all_of(_file, _project_name, _variables, _project_directory, on_platform)(function)


def progress(function: F) -> F:
    """Declare `progress`; the module that shows it is loaded by the commands that have it."""
    from stoneware.ui.progress import Style

    return option("--progress", choices=Style, default=Style.AUTO, help="How to show what is done.")(function)


def _all_of(*declared: Callable[[F], F]) -> Callable[[F], F]:
    def declare(function: F) -> F:
        for decorator in reversed(declared):  # as if they stood below each other
            function = decorator(function)
        return function

    return declare


def settle_time(*, wait: bool, wait_for: float | None) -> float | None:
    """Return how many seconds a machine without a health check has to be up, None for no waiting."""
    if wait_for is not None:
        return wait_for
    from stoneware.platforms.waiting import SETTLE  # not for commands that wait for nothing

    return SETTLE if wait else None
