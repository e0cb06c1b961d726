"""The attribute `config`: runtime config as a map, in place of the instance attributes it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stoneware.config.encoding import decode, encode
from stoneware.errors import InputError
from stoneware.image.versions import floor_problem
from stoneware.model import guest_protocol

if TYPE_CHECKING:
    from stoneware.model.machine import MachineSpec
    from stoneware.platforms.protocols import Platform
    from stoneware.provider.images import Images

ATTRIBUTE = guest_protocol.CONFIG
# What a machine needs besides, to start its service and to report.
_COMPANIONS = {guest_protocol.MODE: "run", guest_protocol.GUEST_ATTRIBUTES: guest_protocol.TRUE}


def to_metadata(config: Mapping[str, str] | None, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the instance attributes that `config` and `metadata` stand for together."""
    if config is None:
        return dict(metadata or {})
    return {**_COMPANIONS, ATTRIBUTE: encode(config), **(metadata or {})}


def from_metadata(
    real: Mapping[str, str], state: Mapping[str, Any] | None
) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Return `config` and `metadata` for real instance attributes, divided as `state` divides them."""
    rest = dict(real)
    if state is None or state.get("config") is None:
        return None, rest or None
    try:
        config = decode(rest.pop(ATTRIBUTE, ""))
    # What is there is no config: it is shown as an attribute, so that a plan puts it right.
    except InputError:
        return {}, dict(real)
    written = state.get("metadata") or {}
    for key, value in _COMPANIONS.items():
        # What `config` adds by itself is no change.
        if rest.get(key) == value and key not in written:
            del rest[key]
    return config, rest or None


def check(spec: MachineSpec, images: Images) -> list[str]:
    """Return what should be warned of. Raises InputError with all that the image's contract has against it.

    Both only where the machine is booted from an image that is there, to run its service.
    """
    image_id = spec.source.removeprefix("image:")
    if image_id not in images.image_ids() or spec.metadata.get(guest_protocol.MODE) != "run":
        return []
    manifest = images.manifest(image_id)
    problems = _problems(spec, image_id, manifest)
    if problems:
        raise InputError(
            f"the machine {spec.name} cannot start with this config: "
            f"{len(problems)} problem{'s' * (len(problems) > 1)}",
            details="\n".join(problems),
        )
    mounted = {mount.path for mount in spec.volumes}
    wanting = [path for path in manifest["config"]["volumes"] if path not in mounted]
    return [
        f"the image wants a disk at {path}: without one, its data is removed with the machine {spec.name}"
        for path in wanting
    ]


def check_disks(spec: MachineSpec, images: Images, platform: Platform) -> None:
    """Raise InputError where the image is below the floor of a disk that the machine is to write to."""
    image_id = spec.source.removeprefix("image:")
    disks = {mount.volume: platform.volume(mount.volume) for mount in spec.volumes if not mount.read_only}
    floors = {name: disk.floor for name, disk in disks.items() if disk and disk.floor}
    if not floors or image_id not in images.image_ids():
        return
    if problem := floor_problem(spec.name, images.manifest(image_id)["labels"], floors):
        raise InputError(problem, resolution="use an image of that version or a later one")


def check_wait(spec: MachineSpec, images: Images) -> None:
    """Raise InputError where nothing will ever say that the machine is healthy."""
    image_id = spec.source.removeprefix("image:")
    if image_id not in images.image_ids() or guest_protocol.HEALTH_CHECK in spec.metadata:
        return
    check = images.manifest(image_id)["config"]["healthcheck"]
    if not (check and check["test"]):
        raise InputError(
            f"the image of the machine {spec.name} has no health check to wait for",
            resolution='wait_for = "running", or a HEALTHCHECK in the Machinefile',
        )


def _problems(spec: MachineSpec, image_id: str, manifest: Mapping[str, Any]) -> list[str]:
    from stoneware.config.contract import check_config
    from stoneware.config.values import builtin_values

    return check_config(
        manifest["contract"],
        decode(spec.metadata.get(ATTRIBUTE, "")),
        secrets={use.target: None for use in spec.secrets},
        builtins=builtin_values(name=spec.name, image=image_id, commit=str(manifest["commit"] or "")),
        advice=_advice,
    )


def _advice(name: str, example: str, secret: bool) -> str:
    if secret:
        return f"give it as a secret whose target is {name}"
    return f'give it in config: {name} = "{example}"'
