"""Gates that name commands of the image's own, which machines run where nothing else can be run in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoneware.cluster.model import Desired
from stoneware.cluster.site import Site
from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.model.guest_protocol import COMMANDS
from stoneware.platforms.declared import declared_name
from stoneware.rollout.model import Policy
from stoneware.rollout.registry import commands_of

_SHELL = re.compile(r"[^\w@%+=:,./ -]", re.ASCII)  # what a shell would do something with


def declared_by(gate: str, settings: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the image's own commands that a gate runs; None where it runs another, too."""
    commands = commands_of(gate, settings)
    found = [declared_name(argv) for argv in commands] if commands is not None else [""]
    return found if all(found) else None


def plain_words(command: str) -> list[str]:
    """Return the words of a text for the shell that says one of the image's own commands, without a shell.

    Nothing where it is another, or something that only a shell can do.
    """
    words = [] if _SHELL.search(command) else command.split()
    return words if declared_name(words) else []


def check_declared(desired: Desired, policies: Mapping[str, Policy], site: Site) -> None:
    """Raise InputError where a gate names a command that an image does not declare.

    Only where the platform runs no others; an image that is still to be baked is not known yet.
    """
    if Capability.COMMANDS in site.platform.capabilities:
        return
    known = set(site.store.image_ids())
    for command, machine in _asked(desired, policies):
        found = desired.machines[machine]
        # An image that is still to be baked has no list of commands yet.
        if found.image_id in known and command not in (
            site.store.manifest(found.image_id).get("commands") or ()
        ):
            raise InputError(
                f"the image {found.image} declares no command {command}",
                details=f"A gate has {machine} run {COMMANDS}{command}.",
                resolution=f"COPY --chmod=755 {command} {COMMANDS}    # in the Machinefile, then bake",
            )


def check_finalize(site: Site, command: str, image: str) -> None:
    """Raise InputError where the platform cannot run the command that an image (its id) is finalized by."""
    if Capability.COMMANDS in site.platform.capabilities:
        return
    name = declared_name(plain_words(command))
    if name and name in (site.store.manifest(image).get("commands") or ()):
        return
    lacks = f"{COMMANDS}{name} is not in the image." if name else "That takes a shell in the machine."
    raise InputError(
        f"the platform {site.platform.name} cannot run LABEL stoneware.finalize: {command}",
        details=f"{lacks} There machines run commands that their image declares, and no others.",
        resolution=(
            f"COPY --chmod=755 NAME {COMMANDS}    # in the Machinefile, with\n"
            f"LABEL stoneware.finalize={COMMANDS}NAME"
        ),
    )


def _asked(desired: Desired, policies: Mapping[str, Policy]) -> Iterator[tuple[str, str]]:
    """Yield each command that gates name, with a machine that is to run it."""
    for service, policy in policies.items():
        for entry in policy.gates:
            for gate, settings in entry.items():
                for command in declared_by(gate, settings) or ():
                    for name, machine in desired.machines.items():
                        if _is_asked(name, machine.service, service, settings):
                            yield command, name


def _is_asked(name: str, own: str, service: str, settings: Mapping[str, Any]) -> bool:
    """Say whether a machine of the service `own` is to run what a gate of `service` runs."""
    if "services" in settings:  # of a gate that asks whole services
        return own in settings["services"]
    where = settings.get("in", "any")
    return where in {"any", name} or (where in {"self", "each"} and own == service)
