"""bake: from a Machinefile to a tagged image."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoneware.bake.options import BakeOptions, BakeResult, OnFailure, SecretSource
from stoneware.cli import bake_result, options
from stoneware.cli.context import backend, choose, leave_bake, open_platform, open_store, tell_left
from stoneware.cli.output import print_json, print_table, say
from stoneware.cli.parameters import Command, argument, flag, option
from stoneware.dataclass import dataclass
from stoneware.durations import parse_duration
from stoneware.errors import InputError
from stoneware.launch.flags import parse_image_labels, parse_values
from stoneware.ui.progress import Style, make_display
from stoneware.ui.text import duration, one_line, short_id
from stoneware.untrusted.bounded import why_no_file

if TYPE_CHECKING:
    from stoneware.bake.plan import BakePlan


@dataclass(frozen=True)
class Flags:
    """What the command was given, by the names of its options."""

    context: Path
    tag: tuple[str, ...]
    file: Path | None
    target: str
    build_arg: tuple[str, ...]
    secret: tuple[str, ...]
    label: tuple[str, ...]
    no_cache: bool
    pull: bool
    plan: bool
    skip_check: tuple[str, ...]
    list_checks: bool
    on_failure: OnFailure
    step_timeout: str | None
    platform: str | None
    progress: Style
    quiet: bool
    verbose: bool
    json_output: bool


@click.command("bake", cls=Command)
@argument(
    "context",
    metavar="CONTEXT",
    kind=Path,
    required=False,
    default=Path(),
    help="The directory to copy from.",
)
@option("--tag", "-t", metavar="NAME[:TAG]", multiple=True, help="Name the image. Repeatable.")
@option("--file", "-f", metavar="FILE", kind=Path, help="The Machinefile (default: CONTEXT/Machinefile).")
@option("--target", metavar="STAGE", default="", help="Bake up to this stage.")
@option("--build-arg", metavar="KEY[=VALUE]", multiple=True, help="Set an ARG. Repeatable.")
@option(
    "--secret",
    metavar="id=ID[,src=FILE|,env=VAR]",
    multiple=True,
    help="A secret for RUN --mount. Repeatable.",
)
@option("--label", metavar="KEY=VALUE", multiple=True, help="Label the image. Repeatable.")
@flag("--no-cache", help="Run every step.")
@flag("--pull", help="Build the base again, with its updates.")
@flag("--plan", help="Show the plan with its reasons; change nothing.")
@option("--skip-check", metavar="NAME", multiple=True, help="Skip a leak check. Repeatable.")
@flag("--list-checks", help="List the leak checks.")
@option(
    "--on-failure",
    choices=OnFailure,
    default=OnFailure.STOP,
    help="When a step fails: stop, or open a shell there.",
)
@option("--step-timeout", metavar="DURATION", help="End a step that takes longer, as in 10m.")
@options.platform
@options.progress
@flag("--quiet", "-q", help="Print only the id of the image.")
@flag("--verbose", help="Show what Terraform prints.")
@options.json_output
def bake(**given: Any) -> None:
    """Bake an image from a Machinefile.

    Boots a builder, runs the steps that are not cached, captures the image and tags it with the Git
    commit and `latest`.
    """
    flags = Flags(**given)
    choose(flags.platform, flags.context)  # that of the context's stoneware.toml, if none is named
    if flags.list_checks:  # needs no Machinefile
        _list_checks(json_output=flags.json_output)
        return
    _check_terminal(flags)
    wanted = _bake_options(flags)
    if flags.plan:
        _plan(wanted, json_output=flags.json_output)
    else:
        result = _bake(wanted, Style.QUIET if flags.quiet else flags.progress)
        bake_result.show(result, _summary(result), quiet=flags.quiet, json_output=flags.json_output)


def _check_terminal(flags: Flags) -> None:
    if flags.on_failure is OnFailure.SHELL and not sys.stdin.isatty():
        raise InputError(
            "--on-failure shell needs a terminal",
            resolution="leave it out, or run this command in a terminal",
        )


def _bake_options(flags: Flags) -> BakeOptions:
    """Return the bake that is asked for. Raises InputError where a value cannot be read."""
    limit = flags.step_timeout
    return BakeOptions(
        context=flags.context,
        file=flags.file,
        tags=flags.tag,
        target=flags.target or None,
        build_args=parse_values(flags.build_arg, os.environ, "--build-arg"),
        secrets=dict(parse_secret(text) for text in flags.secret),
        labels=parse_image_labels(flags.label),
        no_cache=flags.no_cache,
        pull=flags.pull,
        skip_checks=flags.skip_check,
        on_failure=flags.on_failure,
        step_timeout=None if limit is None else parse_duration(limit, "--step-timeout"),
        verbose=flags.verbose,
    )


def _bake(wanted: BakeOptions, style: Style) -> BakeResult:
    from stoneware.bake import api
    from stoneware.bake.place import Place

    store = open_store()
    tell_left(store)
    place = Place(open_platform(store), store, leave_bake)
    with (
        backend().clear_errors(),  # a full disk under the store is told in words
        make_display(style, sys.stderr) as display,
    ):
        return api.bake(wanted, place, display)


def _summary(result: BakeResult) -> str:
    commit = "no commit" if result.commit is None else f"commit {result.commit[:7]}"
    state = ", work tree differs" if result.dirty else ""
    return (
        f"image {short_id(result.image_id)} ({commit}{state}): "
        f"{result.cached} cached, {result.ran} run, {duration(round(result.seconds, 3))}"
    )


def _plan(wanted: BakeOptions, *, json_output: bool) -> None:
    from stoneware.bake import api

    bake_plan = api.plan(wanted, open_store())  # no platform: a plan boots nothing
    if json_output:
        print_json(bake_plan.to_document())
        return
    rows = [
        [
            planned.action,
            f"{stage.name} {planned.step.index}",
            str(planned.step.line),
            one_line(planned.step.text, 60),
            planned.reason,
        ]
        for stage in bake_plan.stages
        for planned in stage.steps
    ]
    rows.append([bake_plan.image.action, "image", "-", bake_plan.name, bake_plan.image.reason])
    print_table(("ACTION", "STEP", "LINE", "INSTRUCTION", "REASON"), rows)
    _plan_summary(bake_plan)


def _plan_summary(bake_plan: BakePlan) -> None:
    steps = [planned for stage in bake_plan.stages for planned in stage.steps]
    run = sum(planned.action == "RUN" for planned in steps)
    if bake_plan.image.action == "HIT":
        say("nothing to bake: the image is there, tags would be set")
    else:
        builders = f"{len(bake_plan.builds)} builder{'' if len(bake_plan.builds) == 1 else 's'}"
        say(f"{run} of {len(steps)} steps would run, {builders} would be created")


def _list_checks(*, json_output: bool) -> None:
    from stoneware.guest.checks import CHECKS

    if json_output:
        print_json([vars(check) for check in CHECKS])
    else:
        print_table(("CHECK", "SEVERITY", "WHY"), [[c.name, c.severity, c.reason] for c in CHECKS])


def parse_secret(text: str) -> tuple[str, SecretSource]:
    """Parse Docker's `--secret id=ID[,src=FILE|,env=VAR]` into id and source. Raises InputError.

    Without src and env, a variable of the id's name is taken where there is one, else a file of that name.
    """
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    name = fields.pop("id", "")
    kind = fields.pop("type", "")
    path = fields.pop("src", "") or fields.pop("source", "")
    variable = fields.pop("env", "")
    if not name or fields or (path and variable) or kind not in ("", "file", "env"):
        raise InputError(
            f"invalid --secret {text!r}", resolution="for example: --secret id=token,src=./token.txt"
        )
    if kind == "env" and not variable:  # to Docker the source is a variable then
        path, variable = "", path or name
    if not path and not variable:
        path, variable = ("", name) if name in os.environ else (name, "")
    if variable:
        return name, _from_variable(name, variable)
    if why := why_no_file(Path(path), repr(path)):
        raise InputError(f"the secret {name!r}: {why}", resolution="--secret id=ID,src=FILE")
    return name, SecretSource(path=Path(path))


def _from_variable(name: str, variable: str) -> SecretSource:
    if variable not in os.environ:
        raise InputError(
            f"the secret {name!r} needs the variable {variable}, which is not set",
            resolution=f"export {variable}=… , or --secret id={name},src=FILE",
        )
    return SecretSource(variable=variable)
