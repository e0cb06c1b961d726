"""emulate google: the Compute Engine API on this computer."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoneware.cli import options
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Group, flag, option
from stoneware.errors import InputError
from stoneware.platforms import registry

if TYPE_CHECKING:
    import socket

    from stoneware.emulator.service import Service
    from stoneware.platforms.instances import Computers

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_PYTHON = 'client_options={{"api_endpoint": "{}"}}, transport="rest"'


@click.group("emulate", cls=Group)
def emulate() -> None:
    """Serve a cloud's API on this computer."""


@emulate.command("google")
@option(
    "--port",
    metavar="PORT",
    kind=int,
    low=0,
    default=8089,
    help="Listen there on 127.0.0.1; 0: any free port.",
)
@option(
    "--project",
    metavar="NAME",
    multiple=True,
    help="Have this project; the first is in what is printed. Repeatable. [default: stoneware-local]",
)
@option(
    "--state",
    metavar="DIR",
    kind=Path,
    help="Keep the resources there (default: emulator in the store's directory).",
)
@option(
    "--fault",
    metavar="NAME[:CHANCE]",
    multiple=True,
    help="Let it go wrong: quota, stockout, preempt, slow-operation, lost-reply, 429, 500, 502, 503.",
)
@option(
    "--operation-time",
    metavar="SECONDS",
    kind=float,
    low=0,
    default=0.1,
    help="Seconds that an operation takes.",
)
@option(
    "--latency",
    metavar="SECONDS",
    kind=float,
    low=0,
    default=0.0,
    help="Seconds that each reply takes longer.",
)
@flag("--bare", help="Debian's images are without Stoneware's programs, as Google's own are.")
@flag("--vm", help="Instances are virtual machines, with kernels and disks of their own.")
@flag("--log", help="Print each request and the status of its reply.")
@options.json_output
def google(
    *,
    port: int,
    project: tuple[str, ...],
    state: Path | None,
    fault: tuple[str, ...],
    operation_time: float,
    latency: float,
    bare: bool,
    vm: bool,
    log: bool,
    json_output: bool,
) -> None:
    """Serve Compute Engine, Cloud Storage, Secret Manager and tokens on this computer, until Ctrl-C.

    An instance is a machine of this computer, and firewall rules act on it; networks and addresses are
    records. Objects of buckets and versions of secrets have contents.
    What is printed goes into the environment of Terraform, gcloud and Python programs.
    """
    projects = project or ("stoneware-local",)
    _check_projects(projects)
    from stoneware.emulator import discovery, faults, instance_work, server, store
    from stoneware.emulator.service import Service

    wanted = faults.Faults([faults.parse(text) for text in fault])
    document = discovery.load()
    root = state or _computer().home() / "emulator"
    with store.opened(root) as records, server.listen(port) as sock:
        service = Service(
            *(document, records),
            delay=operation_time,
            faults=wanted,
            latency=latency,
            # For the first instance: a service of records and objects needs no store.
            open_computers=lambda: _instances(root, bare=bare, vm=vm),
        )
        service.operations.forget_old()
        service.add_public_images()
        for name in projects:
            service.add_project(name)
        instance_work.resume(service)  # what the last emulator did not finish
        try:
            _serve(service, sock, projects[0], log=log, json_output=json_output)
        finally:
            service.jobs.close()  # its threads write to the records, which are closed next


def _check_projects(names: Iterable[str]) -> None:
    for name in names:
        if not _PROJECT.fullmatch(name):
            raise InputError(
                f"{name!r} is no name of a project",
                details="It has 6 to 30 lowercase letters, digits and -, and begins with a letter.",
                resolution="stoneware emulate google --project my-project",
            )


def _computer() -> registry.Backend:
    """Return this computer's own platform, whichever a stoneware.toml names."""
    return registry.backend(registry.DEFAULT, registry.project_of())


def _instances(state: Path, *, bare: bool, vm: bool) -> Computers:
    images, told = _computer().open_images()
    for sentence in told:
        say(sentence)
    return _computer().open_instances(images, state, bare=bare, vm=vm)


def _serve(service: Service, sock: socket.socket, project: str, *, log: bool, json_output: bool) -> None:
    import asyncio

    from stoneware.emulator import environment, front, server
    from stoneware.emulator.tokens import key

    endpoint = f"http://{front.HOST}:{sock.getsockname()[1]}"
    credentials = key.write(service.store.root, endpoint, project)
    variables = environment.variables(endpoint, project, credentials.absolute())
    show = _print_json if json_output else _print_lines
    # Printed once requests are answered.
    asyncio.run(server.serve(service, sock, lambda: show(endpoint, variables), say if log else None))


def _print_lines(endpoint: str, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        print_line(f"export {name}={shlex.quote(value)}")
    print_line(f"# Python: {_PYTHON.format(endpoint)}")
    say(f"serving the Compute Engine API at {endpoint}; Ctrl-C ends it")


def _print_json(endpoint: str, variables: dict[str, str]) -> None:
    print_json({"endpoint": endpoint, "environment": variables})
    say(f"serving the Compute Engine API at {endpoint}; Ctrl-C ends it")
