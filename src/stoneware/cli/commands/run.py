"""run: boot a machine from an image."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from stoneware.cli import options
from stoneware.cli.commands.execute import need_terminal
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.foreground import run_in_foreground
from stoneware.cli.listing import machine_document
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Command, argument, flag, option
from stoneware.config import given_values
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.launch.command import CommandOptions, run_command, split_entrypoint
from stoneware.launch.flags import (
    parse_labels,
    parse_port,
    parse_restart,
    parse_values,
    parse_volume,
)
from stoneware.launch.needs import needs_of
from stoneware.launch.plan import Launch, LaunchOptions, plan_launch
from stoneware.launch.watch import wait_until_up
from stoneware.model.capability import require
from stoneware.model.limits import (
    in_order,
    parse_disk,
    parse_log_options,
    parse_memory,
    parse_ulimit,
    pids_limit_of,
)
from stoneware.model.machine import Machine
from stoneware.model.runtime import Process, System, problems
from stoneware.platforms.protocols import Images, Platform


@dataclass(frozen=True)
class Flags:
    """What the command was given, by the names of its options."""

    image: str
    command: tuple[str, ...]
    detach: bool
    interactive: bool
    tty: bool
    remove: bool
    name: str
    env: tuple[str, ...]
    env_file: tuple[Path, ...]
    publish: tuple[str, ...]
    publish_all: bool
    volume: tuple[str, ...]
    hostname: str
    restart: str
    read_only: bool
    vm: bool
    memory: str
    cpus: float | None
    pids_limit: int | None
    ulimit: tuple[str, ...]
    disk: str
    log_opt: tuple[str, ...]
    label: tuple[str, ...]
    stop_timeout: float | None
    wait: bool
    wait_for: float | None
    timeout: float
    user: str
    workdir: str
    entrypoint: str | None
    json_output: bool


# What follows the image is the command's: `run IMAGE ls -l`.
@click.command("run", cls=Command, context_settings={"allow_interspersed_args": False})
@options.image
@argument("command", metavar="COMMAND", many=True, required=False, help="Run this instead of the service.")
@flag("--detach", "-d", help="Return once the machine is created.")
@options.interactive
@options.tty
@flag("--rm", "remove", help="Remove the machine when it has stopped.")
@option("--name", metavar="NAME", default="", help="Its name, and its host name.")
@options.env
@options.env_file
@option(
    "--publish", "-p", metavar="[IP:][HOST:]PORT[/udp]", multiple=True, help="Publish a port. Repeatable."
)
@flag("--publish-all", "-P", help="Publish each EXPOSEd port at a free one.")
@option("--volume", "-v", metavar="NAME:/PATH[:ro]", multiple=True, help="Mount a volume. Repeatable.")
@option("--hostname", "-h", metavar="NAME", default="", help="Another host name.")
@option("--restart", metavar="POLICY", default="no", help="no, always, unless-stopped or on-failure[:N].")
@flag("--read-only", help="Discard changes of the root at the next start.")
@flag("--vm", help="A virtual machine, with a kernel of its own.")
@option("--memory", "-m", metavar="SIZE", default="", help="Memory at most: 512m.")
@option("--cpus", metavar="CORES", kind=float, low=0.01, help="Cores at most: 1.5.")
@option(
    "--pids-limit", metavar="NUMBER", kind=int, help="Processes at most: 4096 by default; -1 for any number."
)
@option(
    "--ulimit",
    metavar="NAME=SOFT[:HARD]",
    multiple=True,
    help="Limit its processes: nofile=4096. Repeatable.",
)
@option("--disk", metavar="SIZE", default="", help="Root file system at most: 10g.")
@option(
    "--log-opt",
    metavar="KEY=VALUE",
    multiple=True,
    help="Console kept: max-size=10m, max-file=3. Repeatable.",
)
@option("--label", "-l", metavar="KEY=VALUE", multiple=True, help="Label it. Repeatable.")
@option(
    "--stop-timeout",
    metavar="<float range>",
    kind=float,
    low=0,
    help="Seconds its services get to stop (default: as the image declares).",
)
@flag("--wait", help="With -d: return once it is healthy, or up for --wait-for.")
@options.wait_for
@option("--timeout", metavar="SECONDS", kind=float, low=0, default=120.0, help="Seconds it gets to come up.")
@options.user
@options.workdir
@option(
    "--entrypoint", metavar="PROGRAM", help="Another one, without the image's CMD; with COMMAND '' for none."
)
@options.on_platform
@options.json_output
def run(**given: Any) -> None:
    """Boot a machine from an image.

    The values given are checked against what the image needs before anything is created. Without -d the
    console is shown until the machine stops, and Ctrl-C stops it. With a COMMAND the machine boots
    without its service, runs the command, stops, and its exit code is ours.
    """
    flags = Flags(**given)
    _check_mode(flags)
    wanted = _launch_options(flags)
    store = open_store()
    launch = _planned(store, wanted)
    platform = open_platform(store)
    # Before anything is created: what the platform lacks is refused with its flag.
    require(platform, needs_of(launch.spec, command=bool(flags.command)))
    if flags.detach:
        _start(platform, launch, flags)
    else:
        raise click.exceptions.Exit(_until_it_stops(platform, launch, flags))


def _check_mode(flags: Flags) -> None:
    image, words = flags.image, flags.command
    if words and flags.detach:
        raise InputError(
            "a command runs in the foreground, a detached machine runs its image's service",
            resolution=f"stoneware run -d {image}    # or: stoneware run --rm {image} {shlex.join(words)}",
        )
    waits = {"--wait": flags.wait, "--wait-for": flags.wait_for is not None, "--json": flags.json_output}
    for flag_name, given in waits.items():
        if given and not flags.detach:
            raise InputError(
                f"{flag_name} is of a detached machine: without -d its console is shown until it stops",
                resolution=f"stoneware run -d {flag_name} … {image}",
            )
    if (flags.interactive or flags.tty) and not words:
        raise InputError(
            "-i and -t need a command to talk to",
            resolution=f"stoneware run --rm -it {image} bash",
        )
    need_terminal(tty=flags.tty, interactive=flags.interactive)


def _launch_options(flags: Flags) -> LaunchOptions:
    """Return the launch that is asked for. Raises InputError where a value cannot be read."""
    values = given_values(flags.env_file, flags.env)
    log_max_size, log_max_file = parse_log_options(
        # A key alone would be dropped otherwise, and not be refused.
        parse_values((word if "=" in word else f"{word}=" for word in flags.log_opt), {}, "--log-opt")
    )
    return LaunchOptions(
        image=flags.image,
        name=flags.name,
        values=values,
        ports=tuple(port for text in flags.publish for port in parse_port(text)),
        publish_all=flags.publish_all,
        volumes=tuple(parse_volume(text) for text in flags.volume),
        hostname=flags.hostname,
        memory=parse_memory(flags.memory) if flags.memory else None,
        cpus=flags.cpus,
        pids_limit=pids_limit_of(flags.pids_limit),
        ulimits=in_order(parse_ulimit(text) for text in flags.ulimit),
        disk=parse_disk(flags.disk) if flags.disk else None,
        log_max_size=log_max_size,
        log_max_file=log_max_file,
        read_only=flags.read_only,
        vm=flags.vm,
        restart=parse_restart(flags.restart),
        # In the foreground it is this command that removes it, once it has read the exit code.
        remove=flags.remove and (flags.detach or bool(flags.command)),
        tied=_tied(flags),
        stop_timeout=flags.stop_timeout,
        labels=parse_labels(flags.label),
        command_mode=bool(flags.command),
        process=_process(flags),
    )


def _process(flags: Flags) -> Process:
    """Return how the image's service is to run; a COMMAND in its place is told by `run_command`.

    Raises InputError for what no machine could be told.
    """
    words = () if flags.entrypoint is None else tuple(split_entrypoint(flags.entrypoint))
    if flags.entrypoint == "" and not flags.command:
        raise InputError(
            "without an entrypoint there is nothing to run but a COMMAND",
            resolution=f"stoneware run --rm --entrypoint '' {flags.image} COMMAND",
        )
    process = Process(command=words, user=flags.user, working_dir=flags.workdir)
    for problem in problems(process, System()):
        raise InputError(problem, resolution="for example: -u app:staff, -w /srv/app")
    # A COMMAND has the user and the directory; the service, which does not start, keeps its own.
    return Process() if flags.command else process


def _tied(flags: Flags) -> str:
    """Return what becomes of the machine when this command is killed, and can do nothing any more."""
    if flags.detach:
        return ""
    if flags.remove:
        return "remove"
    return "stop" if flags.command else ""


def _planned(store: Images, wanted: LaunchOptions) -> Launch:
    launch = plan_launch(store, wanted)
    for warning in launch.warnings:
        say(f"warning: {warning}")
    return launch


def _until_it_stops(platform: Platform, launch: Launch, flags: Flags) -> int:
    """Run the machine in the foreground, or a command in it, and return the exit code that is ours."""
    if not flags.command:
        # The machine's own output is passed on as it is.
        return run_in_foreground(platform, launch.spec, sys.stdout.buffer, remove=flags.remove)
    entrypoint = None if flags.entrypoint is None else tuple(split_entrypoint(flags.entrypoint))
    asked = CommandOptions(
        flags.command, flags.tty, flags.interactive, flags.user, flags.workdir, entrypoint, flags.timeout
    )
    return run_command(platform, launch, asked)


def _start(platform: Platform, launch: Launch, flags: Flags) -> None:
    """Start the machine and return; with --wait once it is up."""
    settle = options.settle_time(wait=flags.wait, wait_for=flags.wait_for)
    machine: Machine = platform.create(launch.spec)
    if settle is not None:
        checked = launch.has_health_check
        machine = wait_until_up(platform, machine.name, health=checked, settle=settle, timeout=flags.timeout)
    if flags.json_output:
        print_json(machine_document(machine))
    else:
        print_line(machine.name)
