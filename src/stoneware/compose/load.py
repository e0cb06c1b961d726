"""From cluster files to a cluster: read, interpolate, merge, check, expand. Every fault is told at once."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stoneware.compose import schema
from stoneware.compose.checks import check_cluster, in_order
from stoneware.compose.environment import Setting, environment_of
from stoneware.compose.extensions import STONEWARE, GateCheck, check_extensions, is_virtual
from stoneware.compose.faults import Faults
from stoneware.compose.files import (
    find_files,
    given_name,
    normal_name,
    read_sources,
)
from stoneware.compose.limits import limits_of
from stoneware.compose.machines import Replicas, machine_label
from stoneware.compose.model import Build, Cluster, Condition, Place, Service
from stoneware.compose.naming import variables_of
from stoneware.compose.nodes import Node, key_place, place_of
from stoneware.compose.profiles import wanted_profiles, without_inactive
from stoneware.compose.reading import read_tree
from stoneware.compose.references import Context, References, blame_unknown
from stoneware.compose.resolved import document_of
from stoneware.compose.screen import screened
from stoneware.compose.service_process import check_platform, restart_of, running_of
from stoneware.compose.settings import build_of, health_of, rollout_of
from stoneware.compose.validate import Document, Entry, dotted, validate
from stoneware.compose.values import MOST_REPLICAS
from stoneware.errors import InputError
from stoneware.machinefile.flags import nearest
from stoneware.model.names import DNS, LABEL

__all__ = ["find_files", "load_cluster"]

_NAME_IN_DNS = "It has letters, digits, '-', '_' and '.'."
_SERVICE_NAME = "A service's name is part of host names: letters, digits, and '-', '_' or '.' between them."


def load_cluster(
    files: Sequence[Path] | None,
    *,
    directory: Path,
    environment: Mapping[str, str],
    env_files: Sequence[Path] = (),
    project_name: str | None = None,
    scale: Mapping[str, int] | None = None,
    profiles: Collection[str] = (),
    check_secrets: bool = True,
    check_gates: GateCheck | None = None,
    shares_ports: Callable[[], bool] = lambda: True,
) -> Cluster:
    """Return the cluster that the files (found from `directory` where none are given) say.

    `env_files` take the place of `.env` next to the first file; `environment` wins over both. `scale` has
    numbers of replicas by service. Without `check_secrets` files and variables of secrets may be missing, as
    for a command that makes no machine. `profiles` are those whose services are wanted besides, those of the
    variable COMPOSE_PROFILES where none is given; `check_gates` knows what x-stoneware may say of gates,
    `shares_ports` whether all machines' ports are those of one computer.
    Raises InputError: ClusterFileError with every fault of the files.
    """
    faults = Faults()
    sources = read_sources(list(files or find_files(directory, environment, env_files)), directory)
    base = sources[0].path.parent
    variables = variables_of(env_files, base, directory, environment, faults)
    where = (base, directory)
    root, name = read_tree(sources, where, variables, given_name(project_name, variables), faults)
    root, inactive = without_inactive(screened(root, faults), wanted_profiles(profiles, variables))
    if inactive and not root.mapping["services"].value:
        named = sorted({profile for each in inactive.values() for profile in each})
        reason = f"all services are there only with a profile: {', '.join(named)}"
        faults.broken(root.key_place("services"), reason, f"Add --profile {shlex.quote(named[0])}.")
    check_extensions(root, faults)
    context = Context(name, base, variables, validate(root, faults), faults, check_secrets)
    loader = _Loader(context, scale or {}, inactive, check_gates, shares_ports)
    cluster = loader.cluster(tuple(source.path for source in sources))
    return replace(cluster, at=functools.partial(place_of, root))


class _Loader:
    """Makes the cluster of a checked document."""

    def __init__(
        self,
        context: Context,
        scale: Mapping[str, int],
        inactive: Mapping[str, tuple[str, ...]],
        check_gates: GateCheck | None,
        shares_ports: Callable[[], bool],
    ) -> None:
        self._inactive = inactive
        self._shares_ports = shares_ports
        self._check_gates = check_gates
        self._context = context
        self._document: Document = context.document
        self._faults = context.faults
        self._references = References(context)
        self._scale = scale
        self._environments: dict[str, dict[str, Setting]] = {}

    def cluster(self, files: tuple[Path, ...]) -> Cluster:
        self._check_scale()
        # An alias belongs to the service that is linked to, which may have been read before.
        self._links, self._linked = self._all_links()
        self._name_containers()
        built = {name: self._service(name, entry) for name, entry in self._document.services.items()}
        places = {name: self._depends_place(entry) for name, entry in self._document.services.items()}
        # Services after those they depend on, for every command that goes through them.
        order = in_order({name: service.depends_on for name, service in built.items()}, places, self._faults)
        services = {name: built[name] for name in order}
        nodes = {name: entry.node for name, entry in self._document.services.items()}
        check_cluster(built, nodes, self._faults, self._shares_ports)
        self._gates(built)
        # None of the above stops at a fault, so that all of them are told at once.
        self._faults.check()
        cluster = Cluster(
            name=self._context.cluster,
            directory=self._context.directory,
            files=files,
            services=services,
            volumes=self._references.volumes,
            networks={network.name: network for network in self._references.networks.values()},
            secrets=self._references.secrets,
            extensions=self._document.extensions,
            warnings=tuple(self._faults.warnings),
        )
        # Made only where it is shown: it takes a tenth of the time that loading does.
        parts = (self._document, self._environments, self._references)
        return replace(cluster, document=functools.partial(document_of, cluster, *parts))

    def _gates(self, services: Mapping[str, Service]) -> None:
        """Hold what services say of gates against those there are."""
        machines = frozenset(machine.name for service in services.values() for machine in service.machines)
        for name, entry in self._document.services.items():
            own = entry.extensions.get(STONEWARE)
            if self._check_gates and isinstance(own, dict):
                for path, reason, hint in self._check_gates(own, machines, frozenset(services)):
                    where = dotted(("services", name, STONEWARE, "gates"))
                    place = key_place(entry.node, (STONEWARE, *path))
                    self._faults.add(place, f"{where}: {reason}", hint)

    def _check_scale(self) -> None:
        named = self._document.named["services"]
        for service, count in self._scale.items():
            if named and service not in named:
                similar = nearest(service, sorted(named))
                # No fault of the files, so it does not wait for theirs.
                raise InputError(
                    f"--scale: there is no service {service!r}",
                    resolution=f"--scale {similar}={count}"
                    if similar
                    else f"one of: {', '.join(sorted(named))}",
                )
            if not 0 <= count <= MOST_REPLICAS:
                raise InputError(f"--scale {service}={count}: a number is 0 to {MOST_REPLICAS}")

    def _depends_place(self, entry: Entry[schema.Service]) -> Place:
        return place_of(entry.node, ("depends_on",))

    def _build(self, model: schema.Build, node: Node) -> Build:
        context = self._context
        found = build_of(model, context.directory, context.variables, node, self._faults)
        return replace(found, secrets=self._references.build_secrets(model, node))

    def _service(self, name: str, entry: Entry[schema.Service]) -> Service:
        model, node, faults = entry.model, entry.node, self._faults
        self._check_service(name, entry)
        context = self._context
        environment = environment_of(model, node, context.directory, context.variables, faults)
        self._environments[name] = environment
        deploy = model.deploy or schema.Deploy()
        replicas = Replicas(
            context, self._references, entry, name, environment, linked=self._links.get(name, ())
        )
        count = self._count(name, entry)
        return Service(
            name=name,
            image=model.image or f"{context.cluster}-{name}",
            build=self._build(model.build, node) if model.build else None,
            machines=replicas.machines(count),
            depends_on=self._needs(name, entry),
            healthcheck=health_of(model.healthcheck, place_of(node, ("healthcheck", "test")), faults),
            stop_grace_period=model.stop_grace_period,
            read_only=bool(model.read_only),
            vm=is_virtual(entry.extensions),
            restart=restart_of(model, node, faults),
            **limits_of(model, node, faults),
            **running_of(model, node, faults),
            update_config=rollout_of(deploy.update_config),
            rollback_config=rollout_of(deploy.rollback_config),
            extensions=entry.extensions,
            place=entry.place,
            at=functools.partial(place_of, node),
        )

    def _count(self, name: str, entry: Entry[schema.Service]) -> int:
        """Return how many machines a service has."""
        model, deploy = entry.model, entry.model.deploy or schema.Deploy()
        given = {"scale": model.scale, "deploy.replicas": deploy.replicas}
        said = {key: value for key, value in given.items() if value is not None}
        if len(set(said.values())) > 1:
            place = place_of(entry.node, ("scale",))
            self._faults.add(place, "scale and deploy.replicas say different things", "Keep one of the two.")
        if deploy.mode == "global" and any(value != 1 for value in said.values()):
            place = place_of(entry.node, ("deploy", "mode"))
            hint = "There is one computer: leave out mode, or the number."
            self._faults.add(place, "mode: global is one machine on each computer", hint)
        return self._scale.get(name, next(iter(said.values()), 1))

    def _check_service(self, name: str, entry: Entry[schema.Service]) -> None:
        if not (DNS.allows(name) and LABEL.allows(machine_label(name))):
            likely = normal_name(name)
            hint = f"{_SERVICE_NAME} For example: {likely}" if likely else _SERVICE_NAME
            self._faults.add(entry.place, f"{name!r} cannot be a service's name", hint)
        model, node = entry.model, entry.node
        if model.platform:
            check_platform([model.platform], node, ("platform",), self._faults)
        if model.build and model.build.platforms:
            check_platform(model.build.platforms, node, ("build", "platforms"), self._faults)
        if entry.whole and entry.model.image is None and entry.model.build is None:
            self._faults.add(
                entry.place,
                f"services.{name} has neither image nor build",
                "Write image: NAME:TAG, or build: DIRECTORY.",
            )

    def _all_links(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return the names that `links` give services, and the services that each service links to."""
        names: dict[str, list[str]] = {}
        linked: dict[str, list[str]] = {}
        for name, entry in self._document.services.items():
            for index, text in enumerate(entry.model.links or ()):
                other, _, alias = text.partition(":")
                place = place_of(entry.node, ("links", index))
                if other in self._inactive:
                    self._faults.add(place, *_asleep(other, self._inactive[other]))
                    continue
                if other not in self._document.named["services"]:
                    named = self._document.named["services"] - {name}  # never itself
                    blame_unknown(self._faults, "services", other, named, place)
                    continue
                if alias and not DNS.allows(alias):
                    self._faults.add(place, f"{alias!r} is no host name", _NAME_IN_DNS)
                linked.setdefault(name, []).append(other)
                if alias and alias != other:
                    names.setdefault(other, []).append(alias)
        return names, linked

    def _name_containers(self) -> None:
        """Say once what becomes of `container_name`."""
        named = [entry for entry in self._document.services.values() if entry.model.container_name]
        owners: dict[str, str] = {}
        for service, entry in self._document.services.items():
            name, place = entry.model.container_name, place_of(entry.node, ("container_name",))
            if name is None:
                continue
            if not DNS.allows(name):
                self._faults.add(place, f"container_name: {name!r} is no host name", _NAME_IN_DNS)
            elif (owner := owners.setdefault(name, service)) != service:
                self._faults.add(place, f"container_name: {name!r} is that of {owner}", "Rename one of them.")
        if named:
            place = place_of(named[0].node, ("container_name",))
            more = f" (and of {len(named) - 1} more services)" if len(named) > 1 else ""
            self._faults.warn(
                f"{place}: container_name{more}: it is a name in DNS; the machine is called SERVICE-SLOT"
            )

    def _needs(self, name: str, entry: Entry[schema.Service]) -> dict[str, Condition]:
        needs: dict[str, Condition] = {}
        named = self._document.named["services"]
        node = entry.node.get("depends_on")
        for other, dependency in (entry.model.depends_on or {}).items():
            place = node.key_place(other) if node else entry.place
            if other in named:
                needs[other] = Condition(dependency.condition)
            elif other in self._inactive and dependency.required:
                self._faults.add(place, *_asleep(other, self._inactive[other]))
            elif dependency.required:
                blame_unknown(self._faults, "services", other, named - {name}, place)
            else:
                self._faults.warn(f"{place}: there is no service {other!r}, and none is required")
        for other in self._linked.get(name, ()):
            # `links` implies an order; a condition in depends_on is the stronger word.
            needs.setdefault(other, Condition.STARTED)
        return needs


def _asleep(service: str, profiles: tuple[str, ...]) -> tuple[str, str]:
    """Return why a service that is needed is not there, and how it comes to be there."""
    return (
        f"the service {service!r} is there only with the profile {' or '.join(profiles)}",
        f"Add --profile {shlex.quote(profiles[0])}, or write required: false.",
    )
