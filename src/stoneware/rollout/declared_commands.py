"""Gates that name commands of the image's own, which machines run where nothing else can be run in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoneware.cluster.model import Desired
from stoneware.cluster.site import Site
from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.model.guest_protocol import COMMANDS
from stoneware.platforms.declared import declared_name
from stoneware.rollout.model import Policy

_GATE = "exec"


def declared_by(gate: str, settings: Mapping[str, Any]) -> str:
    """Return the name of the image's own command that a gate runs, nothing where it runs another, or none."""
    return declared_name(settings["command"]) if gate == _GATE else ""


def check_declared(desired: Desired, policies: Mapping[str, Policy], site: Site) -> None:
    """Raise InputError where a gate names a command that an image does not declare.

    Only where the platform runs no others; an image that is still to be baked is not known yet.
    """
    if Capability.COMMANDS in site.platform.capabilities:
        return
    known = set(site.store.image_ids())
    for command, machine in _asked(desired, policies):
        found = desired.machines[machine]
        if found.image_id in known and command not in (
            site.store.manifest(found.image_id).get("commands") or ()
        ):
            raise InputError(
                f"the image {found.image} declares no command {command}",
                details=f"A gate has {machine} run {COMMANDS}{command}.",
                resolution=f"COPY --chmod=755 {command} {COMMANDS}    # in the Machinefile, then bake",
            )


def _asked(desired: Desired, policies: Mapping[str, Policy]) -> Iterator[tuple[str, str]]:
    """Yield each command that gates name, with a machine that is to run it."""
    for service, policy in policies.items():
        for entry in policy.gates:
            for gate, settings in entry.items():
                if command := declared_by(gate, settings):
                    where = settings.get("in", "self")
                    for name, machine in desired.machines.items():
                        if name == where or (where in {"self", "each"} and machine.service == service):
                            yield command, name
