"""What the flags of `run` ask of a platform that not every one can do."""

from __future__ import annotations

from collections.abc import Iterator

from stoneware.model.capability import Capability, Need
from stoneware.model.limits import DEFAULT_PIDS_LIMIT
from stoneware.model.machine import MachineSpec


def needs_of(spec: MachineSpec, *, command: bool) -> Iterator[Need]:
    """Yield what a machine takes, and a command in it, by the options that ask for it."""
    if spec.ports:
        yield Need(Capability.PUBLISHED_PORTS, "--publish", "leave -p and -P out")
    asked = {
        "--memory": (spec.memory is not None, Capability.MACHINE_LIMITS),
        "--cpus": (spec.cpus is not None, Capability.MACHINE_LIMITS),
        "--pids-limit": (spec.pids_limit != DEFAULT_PIDS_LIMIT, Capability.MACHINE_LIMITS),
        "--read-only": (spec.read_only, Capability.READ_ONLY),
        "--ulimit": (bool(spec.ulimits), Capability.READ_ONLY),
    }
    for flag, (given, capability) in asked.items():
        if given:
            yield Need(capability, flag, f"leave {flag} out")
    if spec.vm:
        yield Need(Capability.KERNELS, "--vm", "leave --vm out")
    if command:
        yield Need(Capability.COMMANDS, "COMMAND", "leave the command out: the image's service starts")
