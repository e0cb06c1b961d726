"""bake: from a Machinefile to a tagged image."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoneware.bake.options import BakeOptions, BakeResult, OnFailure, SecretSource
from stoneware.cli import options
from stoneware.cli.context import leave_bake, open_platform, open_store
from stoneware.cli.output import print_json, print_line, print_table, say
from stoneware.durations import parse_duration
from stoneware.errors import InputError
from stoneware.launch.flags import parse_values
from stoneware.ui.progress import Style, make_display
from stoneware.ui.text import duration, one_line, short_id

if TYPE_CHECKING:
    from stoneware.bake.plan import BakePlan

ListOption = list[str] | None


def bake(
    context: Annotated[Path, typer.Argument(metavar="CONTEXT", help="The directory to copy from.")] = Path(),
    *,
    tag: Annotated[
        ListOption, typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name the image. Repeatable.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="The Machinefile (default: CONTEXT/Machinefile)."),
    ] = None,
    target: Annotated[str, typer.Option("--target", metavar="STAGE", help="Bake up to this stage.")] = "",
    build_arg: Annotated[
        ListOption, typer.Option("--build-arg", metavar="KEY[=VALUE]", help="Set an ARG. Repeatable.")
    ] = None,
    secret: Annotated[
        ListOption,
        typer.Option(
            "--secret", metavar="id=ID[,src=FILE|,env=VAR]", help="A secret for RUN --mount. Repeatable."
        ),
    ] = None,
    label: Annotated[
        ListOption, typer.Option("--label", metavar="KEY=VALUE", help="Label the image. Repeatable.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step.")] = False,
    pull: Annotated[
        bool, typer.Option("--pull", help="Make the base again, with what is new in it.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done and why; do nothing.")] = False,
    skip_check: Annotated[
        ListOption, typer.Option("--skip-check", metavar="NAME", help="Skip a leak check. Repeatable.")
    ] = None,
    list_checks: Annotated[bool, typer.Option("--list-checks", help="List the leak checks.")] = False,
    on_failure: Annotated[
        OnFailure, typer.Option("--on-failure", help="When a step fails: stop, or open a shell there.")
    ] = OnFailure.STOP,
    step_timeout: Annotated[
        str | None,
        typer.Option("--step-timeout", metavar="DURATION", help="End a step that takes longer, as in 10m."),
    ] = None,
    progress: Annotated[Style, typer.Option("--progress", help="How to show what is done.")] = Style.AUTO,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the image's id and nothing else.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Terraform prints.")] = False,
    json_output: options.Json = False,
) -> None:
    """Bake an image from a Machinefile.

    Boots a builder, runs the steps that are not cached, captures the image and tags it with the Git
    commit and `latest`.
    """
    if list_checks:
        _list_checks(json_output=json_output)
        return
    if on_failure is OnFailure.SHELL and not sys.stdin.isatty():
        raise InputError(
            "--on-failure shell needs a terminal",
            resolution="leave it out, or run this command in a terminal",
        )
    wanted = BakeOptions(
        context=context,
        file=file,
        tags=tuple(tag or ()),
        target=target or None,
        build_args=parse_values(build_arg or (), os.environ, "--build-arg"),
        secrets=dict(parse_secret(text) for text in secret or ()),
        labels=parse_values(label or (), {}, "--label"),
        no_cache=no_cache,
        pull=pull,
        skip_checks=tuple(skip_check or ()),
        on_failure=on_failure,
        step_timeout=None if step_timeout is None else parse_duration(step_timeout, "--step-timeout"),
        verbose=verbose,
    )
    if plan:
        _plan(wanted, json_output=json_output)
    else:
        _bake(wanted, Style.QUIET if quiet else progress, json_output=json_output, quiet=quiet)


def _bake(wanted: BakeOptions, style: Style, *, json_output: bool, quiet: bool) -> None:
    from stoneware.bake import api
    from stoneware.platforms.registry import backend

    store = open_store()
    place = api.Place(open_platform(store), store, leave_bake)
    with (
        backend().clear_errors(),
        make_display(style, sys.stderr) as display,
    ):
        result = api.bake(wanted, place, display)
    if json_output:
        print_json(result.to_document())
    elif quiet:
        print_line(result.image_id)
    else:
        _summary(result)


def _summary(result: BakeResult) -> None:
    commit = "no commit" if result.commit is None else f"commit {result.commit[:7]}"
    state = ", work tree differs" if result.dirty else ""
    say(
        f"image {short_id(result.image_id)} ({commit}{state}): "
        f"{result.cached} cached, {result.ran} run, {duration(round(result.seconds, 3))}"
    )
    for tag in result.tags:
        print_line(tag)


def _plan(wanted: BakeOptions, *, json_output: bool) -> None:
    from stoneware.bake import api

    made = api.plan(wanted, open_store())
    if json_output:
        print_json(made.to_document())
        return
    rows = [
        [
            planned.action,
            f"{stage.name} {planned.step.index}",
            str(planned.step.line),
            one_line(planned.step.text, 60),
            planned.reason,
        ]
        for stage in made.stages
        for planned in stage.steps
    ]
    rows.append([made.image.action, "image", "-", made.name, made.image.reason])
    print_table(("ACTION", "STEP", "LINE", "INSTRUCTION", "REASON"), rows)
    _plan_summary(made)


def _plan_summary(made: BakePlan) -> None:
    steps = [planned for stage in made.stages for planned in stage.steps]
    run = sum(planned.action == "RUN" for planned in steps)
    if made.image.action == "HIT":
        say("nothing to bake: the image is there, tags would be set")
    else:
        builders = f"{len(made.builds)} builder{'' if len(made.builds) == 1 else 's'}"
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
    if kind == "env" and not variable:
        path, variable = "", path or name
    if not path and not variable:
        path, variable = ("", name) if name in os.environ else (name, "")
    if variable:
        return name, _from_variable(name, variable)
    if not Path(path).is_file():
        raise InputError(f"the secret {name!r} has no file {path!r}", resolution="--secret id=ID,src=FILE")
    return name, SecretSource(path=Path(path))


def _from_variable(name: str, variable: str) -> SecretSource:
    if variable not in os.environ:
        raise InputError(
            f"the secret {name!r} needs the variable {variable}, which is not set",
            resolution=f"export {variable}=… , or --secret id={name},src=FILE",
        )
    return SecretSource(variable=variable)
