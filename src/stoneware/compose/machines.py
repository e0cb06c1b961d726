"""From a service to its machines: every replica written out, its templates expanded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stoneware.compose import schema
from stoneware.compose.canonical import sentence
from stoneware.compose.environment import Setting
from stoneware.compose.model import MachineDefinition, Place, SecretUse, VolumeUse
from stoneware.compose.nodes import place_of
from stoneware.compose.port_ranges import is_spread, port_of
from stoneware.compose.references import DEFAULT, Context, References, clause
from stoneware.compose.settings import filled
from stoneware.compose.templates import Scope, TemplateError, expand
from stoneware.compose.validate import Entry
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.launch.flags import ANY_ADDRESS, parse_port, parse_volume
from stoneware.model import names
from stoneware.model.resources import PortMapping
from stoneware.model.subnets import addresses_problem

_LONGEST_HOST = 64  # of a whole host name, as the kernel keeps it


@dataclass(frozen=True)
class _Mount:
    source: str | None
    path: str
    read_only: bool
    place: Place


@dataclass(frozen=True)
class _Port:
    text: str
    place: Place

    @property
    def varies(self) -> bool:
        """Whether each machine has another one."""
        return "{{" in self.text or is_spread(self.text)


def machine_label(service: str) -> str:
    """Return what the machines of a service are called by: its name, as far as host names may have it."""
    return re.sub(r"[._]+", "-", service.lower()).strip("-")


class Replicas:
    """Makes the machines of one service. What no template is in is made once for all of them."""

    def __init__(
        self,
        context: Context,
        references: References,
        entry: Entry[schema.Service],
        name: str,
        environment: Mapping[str, Setting],
        *,
        linked: Sequence[str] = (),
    ) -> None:
        self._called: list[str] = []  # of one machine: its host name as it was written
        self._linked = linked  # what other services call it by `links`
        self._context = context
        self._faults = context.faults
        self._references = references
        self._entry = entry
        self._model = entry.model
        self._name = name
        self._label = machine_label(name)
        deploy = self._model.deploy or schema.Deploy()
        self._labels = {**filled(deploy.labels), **filled(self._model.labels)}
        # Most services have no template: their machines share one environment.
        self._templated = {key: each for key, each in environment.items() if "{{" in each.value}
        self._fixed = {key: each.value for key, each in environment.items()}
        self._mounts = self._all_mounts()
        self._ports = [
            _Port(_port_text(each), self._place("ports", n)) for n, each in enumerate(self._model.ports or ())
        ]
        self._fixed_ports = [self._parsed(port, port.text) for port in self._ports if not port.varies]
        self._secrets = self._all_secrets()
        self._networks, self._aliases = self._all_networks()
        self._sealed = self._is_sealed()

    def machines(self, count: int) -> tuple[MachineDefinition, ...]:
        """Return the machines 1 to `count`."""
        cluster, short = self._context.cluster, f"{self._label}-{max(count, 1)}"
        host = f"{short}.{cluster}.internal" if self._model.hostname is None else ""
        # Of the last replica only: its number is the longest.
        for what, name, most in (("machine", f"{cluster}-{short}", 63), ("host", host, _LONGEST_HOST)):
            if len(name) > most:
                self._faults.add(
                    self._entry.place,
                    f"the {what} name {name!r} is longer than {most} characters",
                    "Give the cluster or the service a shorter name.",
                    once=True,
                )
        return tuple(self._machine(slot) for slot in range(1, count + 1))

    def _place(self, *path: str | int) -> Place:
        return place_of(self._entry.node, path)

    def _machine(self, slot: int) -> MachineDefinition:
        short = f"{self._label}-{slot}"
        cluster = self._context.cluster
        full = f"{cluster}-{short}"
        self._called.clear()
        # A host name cannot have {{.Node.Hostname}}: that is what it becomes.
        outer = Scope(self._name, slot, short, "", self._labels)
        host = self._host(outer)
        scope = Scope(self._name, slot, short, host, self._labels)
        domain = f"{cluster}.internal"
        hostname = host if "." in host else f"{host}.{domain}"
        called = [
            each for name in dict.fromkeys((self._name, self._label)) for each in (name, f"{name}.{domain}")
        ]
        names = (host, *self._called, short, f"{short}.{domain}", *called, *self._aliases)
        return MachineDefinition(
            name=short,
            full_name=full,
            service=self._name,
            slot=slot,
            hostname=hostname,
            names=tuple(dict.fromkeys(name for name in names if name != hostname)),
            environment=self._environment(scope),
            volumes=self._volumes(scope, full),
            ports=self._published(scope),
            networks=self._networks,
            addresses=self._addresses(scope),
            secrets=self._secrets,
            labels=self._labels,
            place=self._entry.place,
        )

    def _expanded(self, text: str, scope: Scope, place: Place) -> str | None:
        try:
            return expand(text, scope)
        except TemplateError as error:
            self._faults.add(place, error.reason, error.hint, once=True)
            return None

    def _host(self, scope: Scope) -> str:
        """Return the host name: its first part, or all of it where it has dots."""
        if self._model.hostname is None and self._model.domainname is None:
            return scope.name
        place = self._place("hostname" if self._model.hostname else "domainname")
        given = self._model.hostname or scope.name
        if self._model.domainname and "." not in given:  # with dots it is complete
            given = f"{given}.{self._model.domainname}"
        host = self._expanded(given, scope, place)
        if host is None:
            return scope.name
        if "_" in host and names.DNS.allows(host):
            written, host = host, host.replace("_", "-").strip("-")  # a host name has no dash at its ends
            self._called.append(written)
            self._faults.warn(
                f"{place}: hostname: {written} becomes {host}, since a host name has no '_'; DNS knows both"
            )
        longest = _LONGEST_HOST - (0 if "." in host else len(f".{self._context.cluster}.internal"))
        if all(names.LABEL.allows(part.lower()) for part in host.split(".")) and len(host) <= longest:
            return host
        self._faults.add(
            place,
            f"{host!r} cannot be a host name",
            "It has letters, digits and '-' between them; CLUSTER.internal comes after what has no dot, "
            f"and all of it has at most {_LONGEST_HOST} characters.",
            once=True,
        )
        return scope.name

    def _environment(self, scope: Scope) -> Mapping[str, str]:
        if not self._templated:
            return self._fixed
        return self._fixed | {
            key: self._expanded(each.value, scope, each.place) or "" for key, each in self._templated.items()
        }

    def _all_mounts(self) -> list[_Mount]:
        found = []
        for index, each in enumerate(self._model.volumes or ()):
            place = self._place("volumes", index)
            if each.type != "volume":
                continue
            try:
                path = parse_volume(each.target).path
            except InputError as error:
                self._faults.add(place, sentence(error), "for example: data:/var/lib/data")
                continue
            found.append(_Mount(each.source, path, each.read_only, place))
        return found

    def _volumes(self, scope: Scope, full: str) -> tuple[VolumeUse, ...]:
        found = []
        for mount in self._mounts:
            try:
                volume = (
                    self._references.anonymous(full, mount.path)
                    if mount.source is None
                    else self._references.volume(mount.source, scope, full, mount.place)
                )
            except TemplateError as error:
                self._faults.add(mount.place, error.reason, error.hint, once=True)
                continue
            found.append(VolumeUse(volume, mount.path, mount.read_only))
        return tuple(found)

    def _parsed(self, port: _Port, text: str, slot: int = 1) -> tuple[PortMapping, ...]:
        try:
            return parse_port(port_of(text, slot))
        except InputError as error:
            self._faults.add(port.place, sentence(error), once=True)
            return ()

    def _is_sealed(self) -> bool:
        """Say whether all of its networks are internal, and warn of ports, which nobody could reach."""
        known = {each.name: each for each in self._references.networks.values()}
        if not self._networks or not all(known[name].internal for name in self._networks):
            return False
        # As with Docker, no published port leads to internal networks.
        if self._ports:
            self._faults.warn(
                f"{self._place('ports')}: the ports of {self._name} are not published: it is on internal "
                "networks only; put it on another network as well, or leave out ports"
            )
        return True

    def _published(self, scope: Scope) -> tuple[PortMapping, ...]:
        fixed = iter(self._fixed_ports)
        found: list[PortMapping] = []
        for port in self._ports:
            if port.varies:
                text = self._expanded(port.text, scope, port.place)
                found += self._parsed(port, text, scope.slot) if text is not None else ()
            else:
                found += next(fixed)
        return () if self._sealed else tuple(found)

    def _all_secrets(self) -> tuple[SecretUse, ...]:
        found = []
        for index, each in enumerate(self._model.secrets or ()):
            self._references.secret(each.source, self._place("secrets", index))
            found.append(SecretUse(each.source, each.target, each.mode, each.uid, each.gid))
        for index, config in enumerate(self._model.configs or ()):
            key = self._references.config(config.source, self._place("configs", index))
            found.append(SecretUse(key, config.target, config.mode, config.uid, config.gid))
        targets = [use.target for use in found]
        for use in found:
            if targets.count(use.target) > 1:
                place = self._place("secrets" if self._model.secrets else "configs")
                self._faults.add(place, f"two files have the target {use.target!r}", "Give each its own.")
        return tuple(found)

    def _all_networks(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        keys = self._model.networks or {DEFAULT: None}
        names = [self._references.network(key, self._network_place(key)) for key in keys]
        aliases = [alias for each in keys.values() if each for alias in each.aliases]
        aliases += [*self._own_alias(), *self._linked]
        return tuple(dict.fromkeys(filter(None, names))), tuple(dict.fromkeys(aliases))

    def _addresses(self, scope: Scope) -> Mapping[str, str]:
        """Return the address that a machine asks for, by the name of the network."""
        found: dict[str, str] = {}
        for key, each in (self._model.networks or {}).items():
            if each is None or each.ipv4_address is None or not (network := self._known(key)):
                continue
            place = self._place("networks", key, "ipv4_address")
            address = self._expanded(each.ipv4_address, scope, place)
            if address is None:
                continue
            found[network] = address
            fault = self._references.address(key, address, scope.name)
            if fault is None and (problem := addresses_problem(found.items(), self._networks)):
                fault = problem, "Leave out all but one ipv4_address."
            if fault is not None:
                reason, hint = fault
                if scope.slot > 1 and "{{" not in each.ipv4_address:
                    hint = "Write an address for each replica, as 10.5.0.1{{.Task.Slot}}; or leave it out."
                self._faults.add(place, f"{scope.name}: {clause(reason)}", hint, once=True)
        return found

    def _known(self, key: str) -> str:
        """Return the name on the platform of a network that was found to be there; else nothing."""
        return self._references.networks[key].name if key in self._references.networks else ""

    def _own_alias(self) -> list[str]:
        """Return what `container_name` is here: a name in DNS."""
        name = self._model.container_name
        if name is None:
            return []
        return [name] if names.DNS.allows(name) and name != self._name else []

    def _network_place(self, key: str) -> Place:
        node = self._entry.node.get("networks")
        return node.key_place(key) if node else self._entry.place


def _port_text(port: schema.Port) -> str:
    address = "" if port.host_ip in ("", ANY_ADDRESS) else f"{port.host_ip}:"
    if ":" in port.host_ip:
        address = f"[{port.host_ip.strip('[]')}]:"
    published = f"{port.published}:" if port.published or address else ""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{address}{published}{port.target}{protocol}"
