"""What is wanted of a machine: the image, the flags and the contract, checked before anything is made."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from stoneware.dataclass import dataclass
from stoneware.durations import parse_duration
from stoneware.errors import InputError
from stoneware.files import sha256_hex
from stoneware.image.references import Catalogue, resolve_image
from stoneware.launch.flags import check_name, exposed_port
from stoneware.machinefile.recipe import ImageConfig, config_from_document
from stoneware.model import guest_protocol
from stoneware.model.labels import STOP_TIMEOUT_LABEL
from stoneware.model.limits import DEFAULT_LOG_FILES, DEFAULT_LOG_SIZE, DEFAULT_PIDS_LIMIT, Ulimit
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import passed_on
from stoneware.model.mount_places import needs_no_volume
from stoneware.model.resources import PortMapping, VolumeMount
from stoneware.model.runtime import Process

DEFAULT_STOP_TIMEOUT = 10.0  # seconds; Docker's own default


class Images(Catalogue, Protocol):
    """What launching needs of a store."""

    def manifest(self, image_id: str) -> dict[str, Any]:
        """Return an image's manifest."""
        ...


@dataclass(frozen=True)
class LaunchOptions:
    """The flags of `run`. `values` is the runtime config; `command` is for mode `command`, else empty."""

    image: str
    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortMapping, ...] = ()
    publish_all: bool = False
    volumes: tuple[VolumeMount, ...] = ()  # an empty name asks for an anonymous volume
    hostname: str = ""
    memory: int | None = None  # bytes
    cpus: float | None = None  # cores
    pids_limit: int = DEFAULT_PIDS_LIMIT
    ulimits: tuple[Ulimit, ...] = ()
    disk: int | None = None  # bytes
    log_max_size: int = DEFAULT_LOG_SIZE  # bytes
    log_max_file: int = DEFAULT_LOG_FILES
    read_only: bool = False
    vm: bool = False
    restart: str = "no"
    remove: bool = False
    tied: str = ""  # see MachineSpec
    stop_timeout: float | None = None  # seconds; None: what the image says, else ten
    labels: Mapping[str, str] = field(default_factory=dict)
    command_mode: bool = False
    process: Process = field(default_factory=Process)


@dataclass(frozen=True)
class Launch:
    """A machine ready to be created, with what its image says and what to warn of."""

    spec: MachineSpec
    image_id: str
    config: ImageConfig
    manifest: Mapping[str, Any]
    anonymous: tuple[str, ...]  # volumes that were made up for this machine
    warnings: tuple[str, ...] = ()

    @property
    def has_health_check(self) -> bool:
        """Say whether the image's health can be waited for."""
        check = self.config.healthcheck
        return check is not None and bool(check.test)


def plan_launch(images: Images, options: LaunchOptions) -> Launch:
    """Resolve the image, check the values against its contract and say what machine is wanted.

    Touches nothing. Raises InputError for an unknown image, a bad name, or values that the contract refuses.
    """
    image_id = resolve_image(images, options.image)
    manifest = images.manifest(image_id)
    config = config_from_document(manifest["config"])
    from stoneware.config import builtin_values
    from stoneware.config.contract import check_config, require_config

    name = check_name(options.name or _generated_name(str(manifest["name"])))
    commit = str(manifest["commit"] or "")
    known = builtin_values(name=name, image=image_id, commit=commit)
    contract = manifest["contract"]
    if options.command_mode:
        # No service starts in such a machine, so nothing can start with a wrong config.
        warnings = check_config(contract, options.values, builtins=known)
    else:
        warnings = require_config(contract, options.values, image=options.image, builtins=known)
    volumes, anonymous = mounts_of(name, config, options.volumes)
    spec = MachineSpec(
        name=name,
        source=f"image:{image_id}",
        hostname=options.hostname or name,
        metadata=boot_metadata(options.values, "command" if options.command_mode else "run"),
        volumes=volumes,
        ports=_ports(config, options),
        **passed_on(options),
        remove_when_stopped=options.remove,
        tied=options.tied,
        stop_timeout=stop_timeout_of(config, options.stop_timeout),
        image_ref=options.image,
        labels=dict(options.labels),
        process=options.process,
    )
    return Launch(spec, image_id, config, manifest, anonymous, tuple(warnings))


def anonymous_volume(machine: str, path: str) -> str:
    """Return the name of the volume that a machine gets for a path without a named volume."""
    # A path may hold what the name of a volume may not.
    return f"{machine}-{sha256_hex(path.encode())[:8]}"


def _generated_name(image_name: str) -> str:
    # The name is a label of a host name, too: 63 characters at most, no dots and no underscores.
    stem = image_name.rpartition("/")[2].replace(".", "-").replace("_", "-").strip("-")[:50]
    return f"{stem}-{secrets.token_hex(2)}"


def boot_metadata(values: Mapping[str, str], mode: str) -> dict[str, str]:
    """Return the attributes that a machine boots with: its runtime config, and `run` or `command`."""
    from stoneware.config import encode

    return {
        guest_protocol.CONFIG: encode(values),
        guest_protocol.MODE: mode,
        guest_protocol.GUEST_ATTRIBUTES: guest_protocol.TRUE,
    }


def _ports(config: ImageConfig, options: LaunchOptions) -> tuple[PortMapping, ...]:
    if not options.publish_all:
        return options.ports
    named = {(port.machine_port, port.protocol) for port in options.ports}
    exposed = [exposed_port(text) for text in config.ports]
    return (*options.ports, *(port for port in exposed if (port.machine_port, port.protocol) not in named))


def mounts_of(
    name: str, config: ImageConfig, given: Sequence[VolumeMount]
) -> tuple[tuple[VolumeMount, ...], tuple[str, ...]]:
    """Return the mounts of a machine, sorted by path, and the names of volumes that were made up for it.

    Each path that the image declares and no mount is for gets such a volume, and so does a mount without one.
    """
    wanted = {mount.path: mount for mount in given}
    if len(wanted) != len(given):
        raise InputError("two volumes are mounted at the same path", resolution="give each -v its own path")
    for path in config.volumes:
        if needs_no_volume(path):  # an image of before it was left out by the bake
            continue
        wanted.setdefault(path, VolumeMount("", path))
    mounts, anonymous = [], []
    for path, mount in sorted(wanted.items()):
        volume = mount.volume or anonymous_volume(name, path)
        mounts.append(VolumeMount(volume, path, mount.read_only))
        if not mount.volume:
            anonymous.append(volume)
    return tuple(mounts), tuple(anonymous)


def stop_timeout_of(config: ImageConfig, given: float | None) -> float:
    """Return the seconds that a machine's services get to stop: what is given, else what the image says."""
    if given is not None:
        return given
    text = dict(config.labels).get(STOP_TIMEOUT_LABEL)
    return DEFAULT_STOP_TIMEOUT if text is None else parse_duration(text, f"LABEL {STOP_TIMEOUT_LABEL}")
