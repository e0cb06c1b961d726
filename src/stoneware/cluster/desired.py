"""From a machines.yaml and the images in the store to the machines that are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field, replace
from functools import partial
from typing import Any, TypeVar

from stoneware.cluster.declaration import oversized
from stoneware.cluster.model import Desired, DesiredMachine
from stoneware.compose.extras import extras_of, live_extras_of, opened_of, zones_of
from stoneware.compose.model import (
    Cluster,
    ClusterNetwork,
    ClusterVolume,
    MachineDefinition,
    SecretUse,
    Service,
)
from stoneware.config import Secret, builtin_values, digest
from stoneware.config.contract import Outline, check_config, config_warnings
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.image.references import UnknownImageError, resolve_image
from stoneware.launch.plan import Images, boot_metadata, mounts_of, stop_timeout_of
from stoneware.machinefile.recipe import ImageConfig, config_from_document
from stoneware.model import guest_protocol
from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL, RELOAD_LABEL, SERVICE_LABEL, SLOT_LABEL
from stoneware.model.limits import parse_size
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import passed_on
from stoneware.model.resources import SecretMount, VolumeMount
from stoneware.model.runtime import Process
from stoneware.platforms.infrastructure import Extension


def desire(
    cluster: Cluster,
    images: Images,
    secrets: Mapping[str, Secret],
    versions: Mapping[str, str],
    *,
    pending: AbstractSet[str] = frozenset(),
    check: bool = True,
    extension: Extension | None = None,
) -> Desired:
    """Resolve the images, hold every replica's config against its contract, return the machines wanted.

    Touches nothing. `secrets` (by key of the file) are checked against the schemas and never shown; those
    that are not given are taken for good ones. `versions` are what `put_secret` returned for them: one that
    is missing here (nothing was put yet) counts as unchanged in a plan. `pending` are services whose image
    has to be baked first: their machines have no source, and their config is not checked. `extension` is
    that of the platform (`Infrastructure.extension`); what others say has no effect.

    Raises one InputError with every unknown image and every unmet contract, machine by machine. Without
    `check` contracts are not looked at, and an unknown image counts as pending: for `status` and `drift`.
    """
    work = _Work(cluster, images, secrets, versions, pending, check, extension)
    machines = {}
    for service in cluster.services.values():
        image = work.image_of(service)
        for definition in service.machines:
            machine = work.machine(service, definition, image)
            if machine is not None:
                machines[definition.name] = machine
    if work.problems:
        raise work.error()
    return Desired(
        cluster.name,
        machines,
        {service.name: dict(service.depends_on) for service in cluster.services.values()},
        _volumes(cluster, machines.values(), extension),
        {name: _labelled(network, cluster) for name, network in cluster.networks.items()},
        tuple(dict.fromkeys([*cluster.warnings, *work.warnings])),
    )


def secret_name(cluster: str, key: str) -> str:
    """Return the name on the platform of a secret of the file."""
    return f"{cluster}-{key}"


@dataclass(frozen=True)
class _Image:
    """An image as far as machines need it; `id` is empty where it has to be baked first."""

    id: str
    commit: str
    config: ImageConfig
    contract: dict[str, Any]
    rendered: set[Outline] = field(default_factory=set)


_UNBAKED = _Image("", "", ImageConfig(), {})


@dataclass
class _Work:
    """One run over a cluster: what is remembered from machine to machine, and what was found wrong."""

    cluster: Cluster
    store: Images
    secrets: Mapping[str, Secret]
    versions: Mapping[str, str]
    pending: AbstractSet[str]
    check: bool
    extension: Extension | None
    problems: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    images: dict[str, _Image | None] = field(default_factory=dict)
    warned: set[tuple[str, ...]] = field(default_factory=set)

    def image_of(self, service: Service) -> _Image | None:
        """Return the image of a service, None where there is none (which is noted)."""
        if service.name in self.pending:
            return _UNBAKED
        # Most services of a cluster share an image; reading and checking one is most of the work.
        if service.image not in self.images:
            try:
                self.images[service.image] = _read_image(self.store, service.image)
            except InputError as error:
                self.images[service.image] = None if self.check else _UNBAKED
                if self.check:
                    self._blame(service.name, str(service.place), [_no_image(service, error)])
        return self.images[service.image]

    def machine(
        self, service: Service, definition: MachineDefinition, image: _Image | None
    ) -> DesiredMachine | None:
        """Return a replica as it is wanted, None where something is wrong with it (which is noted)."""
        if image is None:
            return None
        try:
            # What has still to be baked has no contract yet; `up` bakes it first and asks again.
            if self.check and image.id:
                self._check(service, definition, image)
            return self._machine(service, definition, image)
        except InputError as error:
            self._blame(definition.name, str(definition.place), [_sentence(error)])
            return None

    def _check(self, service: Service, definition: MachineDefinition, image: _Image) -> None:
        # What has an absolute path is a file for programs, and no variable's value.
        given = {
            use.target: self.secrets.get(use.secret)
            for use in definition.secrets
            if not use.target.startswith("/")
        }
        problems = check_config(
            image.contract,
            definition.environment,
            secrets=given,
            builtins=builtin_values(
                name=definition.full_name,
                image=image.id,
                commit=image.commit,
                cluster=self.cluster.name,
                service=service.name,
                slot=str(definition.slot),
            ),
            advice=partial(_advice, service.name),
            rendered=image.rendered,
        )
        if problems:
            self._blame(definition.name, str(definition.place), problems)
        # With what no name holds in between: a variable and a secret may have the same name.
        key = (service.name, *definition.environment, "\0", *given)
        if key not in self.warned:  # replicas hardly ever differ in the names of their variables
            self.warned.add(key)
            texts = [*config_warnings(image.contract, definition.environment, given)]
            texts += _open(definition, image.contract)
            self.warnings += [f"{service.name}: {text}" for text in texts]

    def _machine(self, service: Service, definition: MachineDefinition, image: _Image) -> DesiredMachine:
        checked, override = _health(service, image.config)
        spec = _spec(self.cluster.name, service, definition, image, override)
        own = (self.cluster.extensions, service.extensions)
        extras, live = extras_of(self.extension, *own), live_extras_of(self.extension, *own)
        live = opened_of(self.extension, live, spec.ports, image.config.ports)
        spec = replace(spec, extras=extras, live_extras=live)
        # With such a value a service could not start, and the machine before it would be gone by then.
        if self.check and (problems := list(oversized(spec))):
            self._blame(definition.name, str(definition.place), problems)
        mounts = (self._secret(use) for use in definition.secrets)
        # The order of the file means nothing, and another order would be another release.
        spec = replace(spec, secrets=tuple(sorted(mounts, key=lambda mount: mount.target)))
        return DesiredMachine(
            name=definition.name,
            service=service.name,
            slot=definition.slot,
            spec=spec,
            image=service.image,
            image_id=image.id,
            commit=image.commit,
            config_digest=digest(spec.metadata[guest_protocol.CONFIG]),
            reloads=bool(dict(image.config.labels).get(RELOAD_LABEL)),
            checked=checked,
            # Not in the spec: no machine moves, so where it may be makes no other release.
            zones=zones_of(self.extension, *own),
        )

    def _secret(self, use: SecretUse) -> SecretMount:
        source = self.cluster.secrets[use.secret]
        name = source.stored or secret_name(self.cluster.name, use.secret)
        version = source.version or self.versions.get(use.secret, "")
        return SecretMount(name, use.target, version, use.mode, use.uid, use.gid)

    def _blame(self, name: str, place: str, problems: Iterable[str]) -> None:
        self.failed.add(name)
        self.places.append(place)
        self.problems += [f"{name}: {problem}" for problem in problems]

    def error(self) -> InputError:
        """Return the one error about all that is wrong."""
        count = len(self.failed)
        what = next(iter(self.failed)) if count == 1 else f"{count} machines and services"
        return InputError(
            f"{what} of the cluster {self.cluster.name} cannot start: "
            f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}",
            details="\n".join(self.problems),
            resolution="correct the file, then: stoneware plan",
            location=self.places[0],
        )


def _no_image(service: Service, error: InputError) -> str:
    """Return what to do about an image that is not there: most names of registries are such."""
    if not isinstance(error, UnknownImageError):
        return _sentence(error)
    near = f" {error.details}" if error.details else ""
    return (
        f"{error.brief}, and none is pulled from a registry.{near} Write build: DIRECTORY next to image:, "
        "with a Machinefile in it (FROM debian:12, RUN apt-get install …), or: "
        f"stoneware bake -t {service.image} DIRECTORY"
    )


def _sentence(error: InputError) -> str:
    rest = [text for text in (error.details, error.resolution) if text]
    return "; ".join([error.brief, *rest]).replace("\n", " ")


def _advice(service: str, name: str, example: str, secret: bool) -> str:
    if secret:
        return f"give the service {service} a secret with the target {name}"
    return f"write {name}: {example} under environment: of the service {service}"


def _open(definition: MachineDefinition, contract: Mapping[str, Any]) -> list[str]:
    """Warn of secrets that are written in the file."""
    entries = contract["variables"]
    names = [name for name in definition.environment if entries.get(name, {}).get("secret")]
    return [
        f"{name} is a secret of the image, but under environment: all can read it: declare it in secrets:"
        for name in names
    ]


def _read_image(store: Images, reference: str) -> _Image:
    image_id = resolve_image(store, reference)
    manifest = store.manifest(image_id)
    config = config_from_document(manifest["config"])
    return _Image(image_id, str(manifest["commit"] or ""), config, manifest["contract"])


def _spec(
    cluster: str, service: Service, definition: MachineDefinition, image: _Image, health: str
) -> MachineSpec:
    mounts = [VolumeMount(use.volume, use.path, use.read_only) for use in definition.volumes]
    volumes, _ = mounts_of(definition.full_name, image.config, mounts)
    metadata = {
        **boot_metadata(definition.environment, "run"),
        guest_protocol.CLUSTER: cluster,
        guest_protocol.SERVICE: service.name,
        guest_protocol.SLOT: str(definition.slot),
    }
    if health:
        metadata[guest_protocol.HEALTH_CHECK] = health
    # What has no order is sorted: Terraform's lists have one, and a file may be tidied without new machines.
    return MachineSpec(
        name=definition.full_name,
        source=f"image:{image.id}" if image.id else "",
        hostname=definition.hostname,
        metadata=metadata,
        volumes=volumes,
        ports=tuple(sorted(definition.ports)),
        networks=tuple(sorted(definition.networks)),
        names=tuple(sorted(definition.names)),
        addresses=definition.addresses,
        **passed_on(service),
        stop_timeout=stop_timeout_of(image.config, service.stop_grace_period),
        image_ref=service.image,
        labels={**definition.labels, **_labels(cluster, definition)},
        process=_process(service, definition, image),
        system=service.system,
    )


def _process(service: Service, definition: MachineDefinition, image: _Image) -> Process:
    """Return how the service runs: Docker's rules for `command` and `entrypoint` next to the image's own.

    Raises InputError where nothing is left to run.
    """
    if service.command is None and service.entrypoint is None:
        return service.process
    entrypoint = image.config.entrypoint if service.entrypoint is None else service.entrypoint
    # The image's CMD are arguments of the image's own entrypoint, not of another one.
    own = image.config.cmd if service.entrypoint is None else ()
    words = (*entrypoint, *(own if service.command is None else service.command))
    # Of an image that has to be baked first it is not known yet what it runs.
    if not words and image.id:
        raise InputError(
            f"{definition.name}: nothing is left to run",
            details="command and entrypoint are empty, and so is what the image has of them",
            resolution="write command: [program, argument]",
        )
    # What says no more than the image does is left to it, and makes no other release.
    same = words == (*image.config.entrypoint, *image.config.cmd)
    return service.process if same else replace(service.process, command=words)


def _labels(cluster: str, machine: MachineDefinition | DesiredMachine) -> dict[str, str]:
    return {
        CLUSTER_LABEL: cluster,
        SERVICE_LABEL: machine.service,
        SLOT_LABEL: str(machine.slot),
        MACHINE_LABEL: machine.name,
    }


def _health(service: Service, config: ImageConfig) -> tuple[bool, str]:
    """Return whether a machine has a health check, and the attribute that changes the image's one."""
    image = config.healthcheck if config.healthcheck and config.healthcheck.test else None
    own = service.healthcheck
    if own is None:
        return image is not None, ""
    from stoneware.guest.units import health_override

    return not own.disabled and bool(own.test or image), health_override(
        own.test,
        interval=own.interval,
        timeout=own.timeout,
        start_period=own.start_period,
        start_interval=own.start_interval,
        retries=own.retries,
        disabled=own.disabled,
        image_check=image,
    )


def _volumes(
    cluster: Cluster, machines: Iterable[DesiredMachine], extension: Extension | None
) -> dict[str, ClusterVolume]:
    """Return the disks: those of the file, and those for paths that only the images declare."""
    volumes = {}
    for name, volume in cluster.volumes.items():
        labelled = replace(_labelled(volume, cluster), extensions={})
        volumes[name] = _sized(labelled, volume, extension) if extension else labelled
    for machine in machines:
        labels = _labels(cluster.name, machine)
        for mount in machine.spec.volumes:
            volume = volumes.get(mount.volume) or ClusterVolume(mount.volume)
            if not volume.external:
                volume = replace(volume, labels={**volume.labels, **labels})
            volumes[mount.volume] = volume
    return volumes


def _sized(labelled: ClusterVolume, volume: ClusterVolume, extension: Extension) -> ClusterVolume:
    """Return a volume with what its platform's key says, its size among that."""
    extras = extras_of(extension, volume.extensions)
    size = parse_size(extras[extension.size]) if extension.size in extras else None
    place = volume.where(extension.key, extension.size)
    return replace(labelled, extras=extras, size=size, place=place, size_key=extension.size)


_Labelled = TypeVar("_Labelled", ClusterVolume, ClusterNetwork)


def _labelled(thing: _Labelled, cluster: Cluster) -> _Labelled:
    # What is external is not ours to label: `down` finds by that label what it removes.
    return thing if thing.external else replace(thing, labels={**thing.labels, CLUSTER_LABEL: cluster.name})
