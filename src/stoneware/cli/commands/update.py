"""update: give a machine other runtime config."""

from __future__ import annotations

from pathlib import Path

import click

from stoneware.cli import options
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.machine_names import find_machine
from stoneware.cli.output import print_line, say
from stoneware.cli.parameters import Command, option
from stoneware.config import decode, encode, given_values
from stoneware.model import guest_protocol
from stoneware.model.labels import RELOAD_LABEL


@click.command("update", cls=Command)
@options.machine
@options.env
@options.env_file
@option("--unset", metavar="KEY", multiple=True, help="Remove a value. Repeatable.")
@options.on_platform
def update(machine: str, *, env: tuple[str, ...], env_file: tuple[Path, ...], unset: tuple[str, ...]) -> None:
    """Change the runtime config of a machine; values that are not named stay.

    The result is checked against what the image needs before the machine is told. An image with
    LABEL stoneware.reload applies it at once, others at their next start.
    """
    from stoneware.config import builtin_values
    from stoneware.config.contract import require_config

    store = open_store()
    platform = open_platform(store)
    found = find_machine(platform, machine)
    values = decode(found.spec.metadata.get(guest_protocol.CONFIG, ""))
    values |= given_values(env_file, env)
    values = {name: value for name, value in values.items() if name not in unset}
    manifest = store.manifest(found.image_id)
    known = builtin_values(  # each machine has these by itself
        name=found.name, ip=found.ip, image=found.image_id, commit=str(manifest["commit"] or "")
    )
    for warning in require_config(manifest["contract"], values, image=found.image, builtins=known):
        say(f"warning: {warning}")
    platform.set_metadata(found.name, {guest_protocol.CONFIG: encode(values)})
    if RELOAD_LABEL not in dict(manifest["labels"]):
        say(f"the image does not reload: stoneware restart {found.name}    # takes it on")
    print_line(found.name)
