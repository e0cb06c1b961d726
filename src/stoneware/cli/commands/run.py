"""run: boot a machine from an image."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from stoneware.cli import options
from stoneware.cli.commands.execute import Interactive, Tty, User, Workdir, need_terminal
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.foreground import run_in_foreground
from stoneware.cli.listing import machine_document
from stoneware.cli.output import print_json, print_line, say
from stoneware.config import given_values
from stoneware.errors import InputError
from stoneware.launch.command import CommandOptions, run_command, split_entrypoint
from stoneware.launch.flags import (
    parse_port,
    parse_restart,
    parse_values,
    parse_volume,
)
from stoneware.launch.plan import Launch, LaunchOptions, plan_launch
from stoneware.launch.watch import wait_until_up
from stoneware.model.limits import (
    in_order,
    parse_disk,
    parse_log_options,
    parse_size,
    parse_ulimit,
    pids_limit_of,
)
from stoneware.model.machine import Machine
from stoneware.platforms.protocols import Platform

Words = list[str] | None


def run(
    image: options.Image,
    command: Annotated[
        Words, typer.Argument(metavar="COMMAND", help="Run this instead of the service.")
    ] = None,
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once the machine is created.")
    ] = False,
    interactive: Interactive = False,
    tty: Tty = False,
    remove: Annotated[bool, typer.Option("--rm", help="Remove the machine when it has stopped.")] = False,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Its name, and its host name.")] = "",
    env: options.Environment = None,
    env_file: options.EnvFiles = None,
    publish: Annotated[
        Words,
        typer.Option("--publish", "-p", metavar="[IP:][HOST:]PORT[/udp]", help="Publish a port. Repeatable."),
    ] = None,
    publish_all: Annotated[
        bool, typer.Option("--publish-all", "-P", help="Publish each EXPOSEd port at a free one.")
    ] = False,
    volume: Annotated[
        Words, typer.Option("--volume", "-v", metavar="NAME:/PATH[:ro]", help="Mount a volume. Repeatable.")
    ] = None,
    hostname: Annotated[
        str, typer.Option("--hostname", "-h", metavar="NAME", help="Another host name.")
    ] = "",
    restart: Annotated[
        str, typer.Option("--restart", metavar="POLICY", help="no, always, unless-stopped or on-failure[:N].")
    ] = "no",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="What changes on the root is gone at the next start.")
    ] = False,
    memory: Annotated[str, typer.Option("--memory", "-m", metavar="SIZE", help="Memory at most: 512m.")] = "",
    cpus: Annotated[
        float | None, typer.Option("--cpus", metavar="CORES", min=0.01, help="Cores at most: 1.5.")
    ] = None,
    pids_limit: Annotated[
        int | None,
        typer.Option(
            "--pids-limit", metavar="NUMBER", help="Processes at most: 4096 unless said; -1 for any."
        ),
    ] = None,
    ulimit: Annotated[
        Words,
        typer.Option(
            "--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit its processes: nofile=4096. Repeatable."
        ),
    ] = None,
    disk: Annotated[str, typer.Option("--disk", metavar="SIZE", help="Root file system at most: 10g.")] = "",
    log_opt: Annotated[
        Words,
        typer.Option(
            "--log-opt", metavar="KEY=VALUE", help="Console kept: max-size=10m, max-file=3. Repeatable."
        ),
    ] = None,
    label: Annotated[
        Words, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label it. Repeatable.")
    ] = None,
    stop_timeout: Annotated[
        float | None,
        typer.Option(
            "--stop-timeout", min=0, help="Seconds its services get to stop (else as the image says)."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="With -d: return once it is healthy, or up for --wait-for.")
    ] = False,
    wait_for: options.WaitFor = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Seconds it gets to come up.")
    ] = 120.0,
    user: User = "",
    workdir: Workdir = "",
    entrypoint: Annotated[
        str | None,
        typer.Option("--entrypoint", metavar="PROGRAM", help="With COMMAND: another one, or '' for none."),
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Boot a machine from an image.

    The values given are checked against what the image needs before anything is made. Without -d the
    console is shown until the machine stops, and Ctrl-C stops it. With a COMMAND the machine boots
    without its service, runs the command, stops, and its exit code is ours.
    """
    words = tuple(command or ())
    _check_mode(words, detach=detach, interactive=interactive, tty=tty, image=image)
    values = given_values(env_file or (), env or ())
    log_max_size, log_max_file = parse_log_options(parse_values(log_opt or (), {}, "--log-opt"))
    wanted = LaunchOptions(
        image=image,
        name=name,
        values=values,
        ports=tuple(port for text in publish or () for port in parse_port(text)),
        publish_all=publish_all,
        volumes=tuple(parse_volume(text) for text in volume or ()),
        hostname=hostname,
        memory=parse_size(memory) if memory else None,
        cpus=cpus,
        pids_limit=pids_limit_of(pids_limit),
        ulimits=in_order(parse_ulimit(text) for text in ulimit or ()),
        disk=parse_disk(disk) if disk else None,
        log_max_size=log_max_size,
        log_max_file=log_max_file,
        read_only=read_only,
        restart=parse_restart(restart),
        # In the foreground it is this command that removes it, once it has read the exit code.
        remove=remove and (detach or bool(words)),
        # Killed, this command can do nothing any more.
        tied="" if detach else "remove" if remove else "stop" if words else "",
        stop_timeout=stop_timeout,
        labels=parse_values(label or (), {}, "--label"),
        command_mode=bool(words),
    )
    store = open_store()
    launch = plan_launch(store, wanted)
    for warning in launch.warnings:
        say(f"warning: {warning}")
    platform = open_platform(store)
    if words:
        ending = None if entrypoint is None else tuple(split_entrypoint(entrypoint))
        asked = CommandOptions(words, tty, interactive, user, workdir, ending, timeout)
        raise typer.Exit(run_command(platform, launch, asked))
    if detach:
        settle = options.settle_time(wait=wait, wait_for=wait_for)
        _detached(platform, launch, settle=settle, timeout=timeout, json_output=json_output)
    else:
        raise typer.Exit(run_in_foreground(platform, launch.spec, sys.stdout.buffer, remove=remove))


def _check_mode(words: tuple[str, ...], *, detach: bool, interactive: bool, tty: bool, image: str) -> None:
    if words and detach:
        raise InputError(
            "a command runs in the foreground, a detached machine runs its image's service",
            resolution=f"stoneware run -d {image}    # or: stoneware run --rm {image} {shlex.join(words)}",
        )
    if (interactive or tty) and not words:
        raise InputError(
            "-i and -t need a command to talk to",
            resolution=f"stoneware run --rm -it {image} bash",
        )
    need_terminal(tty=tty, interactive=interactive)


def _detached(
    platform: Platform, launch: Launch, *, settle: float | None, timeout: float, json_output: bool
) -> None:
    machine: Machine = platform.create(launch.spec)
    if settle is not None:
        checked = launch.has_health_check
        machine = wait_until_up(platform, machine.name, health=checked, settle=settle, timeout=timeout)
    if json_output:
        print_json(machine_document(machine))
    else:
        print_line(machine.name)
