"""The sections that services refer to, and what a name of one stands for on the platform."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from stoneware.compose import schema, schema_resources
from stoneware.compose.faults import Faults
from stoneware.compose.model import ClusterNetwork, ClusterVolume, Place, SecretSource
from stoneware.compose.nodes import Node, place_of
from stoneware.compose.settings import absolute, filled
from stoneware.compose.templates import Scope, TemplateError, expand
from stoneware.compose.validate import Document, Entry
from stoneware.config.secrets import Secret
from stoneware.dataclass import dataclass
from stoneware.launch.plan import anonymous_volume
from stoneware.machinefile.flags import nearest
from stoneware.machinefile.mounts import is_secret_name
from stoneware.model import names
from stoneware.model.names import NameRule
from stoneware.model.subnets import address_problem, gateway, ranges_problem
from stoneware.untrusted.bounded import why_no_file

DEFAULT = "default"
STORED = "secret://"  # how the address of a secret in Secret Manager begins
_VERSION = re.compile(
    r"(?P<secret>projects/[a-z0-9.:-]{1,100}/secrets/[A-Za-z0-9_-]{1,255})/versions/(?P<number>[1-9][0-9]{0,18})"
)
CONFIG_ENDING = ".config"  # of a config's key among the secrets, whose way to machines is its own as well


_EXAMPLE = "ipam: {config: [{subnet: 10.5.0.0/16}]}"


@dataclass(frozen=True)
class Context:
    """What every part of a cluster is made with. `variables` are those of our environment and its files."""

    cluster: str
    directory: Path
    variables: dict[str, str]
    document: Document
    faults: Faults
    check_secrets: bool = True


class References:
    """Resolves names of networks, volumes and secrets, and keeps those that are used."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._document = context.document
        self._faults = context.faults
        self.networks: dict[str, ClusterNetwork] = {}  # by key in the file
        self._asked: dict[tuple[str, str], str] = {}  # which machine asks for an address on a network
        self.volumes: dict[str, ClusterVolume] = {}  # by name on the platform
        self.volume_keys: set[str] = set()
        self.secrets: dict[str, SecretSource] = {}

    def network(self, key: str, place: Place) -> str:
        """Return the name of a network on the platform; nothing where there is none."""
        if key not in self.networks:
            entry = self._document.networks.get(key)
            # Every file has the network `default`, written or not; one that is written and faulty has been
            # blamed.
            if entry is None and (key != DEFAULT or DEFAULT in self._document.named["networks"]):
                self._unknown("networks", key, place)
                return ""
            model = entry.model if entry else schema_resources.Network()
            own_name = f"{self._context.cluster}-{key}"
            name = model.name or (key if model.external else own_name)
            self._check_name(names.NETWORK, name, place_of(entry.node, ("name",)) if entry else place)
            self._check_external(entry)
            subnets = self._subnets(key, entry) if entry else ()
            labels = filled(model.labels)
            self.networks[key] = ClusterNetwork(name, model.external, labels, model.internal, subnets)
        return self.networks[key].name

    def _subnets(self, key: str, entry: Entry[schema_resources.Network]) -> tuple[str, ...]:
        """Return the ranges of a network's own; what cannot be one is a fault."""
        found: list[str] = []
        for index, each in enumerate((entry.model.ipam and entry.model.ipam.config) or ()):
            place = place_of(entry.node, ("ipam", "config", index, "subnet"))
            if ":" in each.subnet:
                why = "has no effect: machines have IPv4 only"
                self._faults.warn(f"{place}: networks.{key}: the subnet {each.subnet} {why}")
                continue
            problem = ranges_problem([*found, each.subnet]) or self._overlap(each.subnet)
            if problem:
                self._faults.add(place, f"networks.{key}: {clause(problem)}", f"for example: {_EXAMPLE}")
                continue
            first = gateway(IPv4Network(each.subnet))
            if each.gateway not in (None, first):
                self._faults.add(
                    place_of(entry.node, ("ipam", "config", index, "gateway")),
                    f"networks.{key}: the gateway of {each.subnet} is {first}, the first address, "
                    f"and not {each.gateway}",
                    f"Leave out gateway, or write {first}.",
                )
            found.append(each.subnet)
        return tuple(found)

    def _overlap(self, subnet: str) -> str | None:
        """Say which other network of the file has a range that overlaps one."""
        for key, network in self.networks.items():
            for other in network.subnets:
                if IPv4Network(subnet).overlaps(IPv4Network(other)):
                    return f"{subnet} overlaps {other} of the network {key}."
        return None

    def address(self, key: str, address: str, machine: str) -> tuple[str, str] | None:
        """Say why a machine cannot have an address on a network of the file, and what to do; None: it can."""
        network = self.networks[key]
        hint = "Choose another address, or leave out ipv4_address."
        if not network.external:  # where it is made it has its subnets
            ranges = [IPv4Network(each) for each in network.subnets]
            if problem := address_problem(address, ranges):
                return problem, hint if ranges else f"Give networks.{key} a subnet: {_EXAMPLE}"
        # By its name there: two keys of the file may name one network.
        other = self._asked.setdefault((network.name, address), machine)
        return None if other == machine else (f"{other} asks for {address} as well.", hint)

    def volume(self, source: str, scope: Scope, machine: str, place: Place) -> str:
        """Return the name of a machine's volume on the platform; nothing where there is none.

        `machine` is the machine's name on the platform. Raises TemplateError.
        """
        key = source if source in self._document.named["volumes"] else expand(source, scope)
        entry = self._document.volumes.get(key)
        if entry is None:
            self._unknown("volumes", key, place)
            return ""
        model = entry.model
        if model.name or model.external:
            name = self._exact(model.name or key, scope, entry)
        else:
            # One for each machine, as a local volume is one on each node of Swarm.
            name = f"{machine}-{expand(key, scope)}"
        if name and name not in self.volumes:
            self._check_name(names.VOLUME, name, place_of(entry.node, ("name",)) if model.name else place)
            self._check_external(entry)
            self.volumes[name] = ClusterVolume(
                name,
                model.external,
                filled(model.labels),
                entry.extensions,
                at=functools.partial(place_of, entry.node),
            )
        self.volume_keys.add(key)
        return name

    def _exact(self, text: str, scope: Scope, entry: Entry[schema_resources.Volume]) -> str:
        try:
            return expand(text, scope)
        except TemplateError as error:
            place = place_of(entry.node, ("name",)) if entry.model.name else entry.place
            self._faults.add(place, error.reason, error.hint, once=True)
            return ""

    def anonymous(self, machine: str, path: str) -> str:
        """Return the name of a machine's volume that has only a path."""
        name = anonymous_volume(machine, path)
        self.volumes[name] = ClusterVolume(name)
        return name

    def secret(self, key: str, place: Place) -> None:
        """Note the use of a secret; its file or variable has to be there."""
        if key in self.secrets:
            return
        entry = self._document.secrets.get(key)
        if entry is None:
            self._unknown("secrets", key, place)
            return
        self._check_name(names.SECRET, f"{self._context.cluster}-{key}", entry.place)
        self.secrets[key] = self._source(key, entry, "secret")

    def build_secrets(self, model: schema.Build, node: Node) -> dict[str, SecretSource]:
        """Return the secrets that an image is baked with, by the id that its steps know."""
        found = {}
        for index, each in enumerate(model.secrets or ()):
            place = place_of(node, ("build", "secrets", index))
            self.secret(each.source, place)
            if not is_secret_name(each.target):
                self._faults.add(
                    place,
                    f"{each.target!r} cannot be the id of a secret",
                    "It has letters, digits, dots, dashes and underscores.",
                )
            elif (source := self.secrets.get(each.source)) and source.stored:
                self._faults.add(
                    place,
                    f"the secret {each.source!r} of a bake is in Secret Manager",
                    "Only machines fetch secrets there: give the bake a file or a variable.",
                )
            elif each.source in self.secrets:
                found[each.target] = self.secrets[each.source]
        return found

    def config(self, key: str, place: Place) -> str:
        """Note the use of a config and return the key of its source among the secrets."""
        found = f"{key}{CONFIG_ENDING}"
        if found in self.secrets:
            return found
        entry = self._document.configs.get(key)
        if entry is None:
            self._unknown("configs", key, place)
            return found
        self._check_name(names.SECRET, f"{self._context.cluster}-{found}", entry.place)
        if entry.model.content is not None:
            self.secrets[found] = SecretSource(key, value=Secret(entry.model.content), config=True)
        else:
            self.secrets[found] = replace(self._source(key, entry, "config"), config=True)
        return found

    def _source(
        self, key: str, entry: Entry[schema_resources.Secret] | Entry[schema_resources.Config], kind: str
    ) -> SecretSource:
        """Return the file or the variable that a value comes from; it has to be there."""
        if entry.model.file is not None and entry.model.file.startswith(STORED):
            return self._stored(key, entry.model.file, entry.node, kind)
        if entry.model.file is not None:
            return SecretSource(key, file=self._file(key, entry.model.file, entry.node, kind))
        variable = entry.model.environment or ""
        return SecretSource(key, variable=variable, value=self._value(variable, entry.node, kind))

    def _stored(self, key: str, address: str, node: Node, kind: str) -> SecretSource:
        """Return where in Secret Manager a secret is."""
        found = _VERSION.fullmatch(address.removeprefix(STORED))
        place = place_of(node, ("file",))
        if kind != "secret":
            self._faults.add(
                place, f"a {kind} is not in Secret Manager", "Write a file, or declare a secret."
            )
        elif found is None:
            self._faults.add(
                place,
                f"{address} is no version of a secret in Secret Manager",
                f"Write {STORED}projects/PROJECT/secrets/NAME/versions/NUMBER; `latest` changes.",
            )
        return SecretSource(
            key, stored=found["secret"] if found else "-/-", version=found["number"] if found else ""
        )

    def _file(self, key: str, file: str, node: Node, kind: str) -> Path:
        path = absolute(file, self._context.directory)
        if self._context.check_secrets and (why := why_no_file(path, file)):
            self._faults.add(place_of(node, ("file",)), f"the {kind} {key!r}: {why}", "Write the file.")
        return path

    def _value(self, variable: str, node: Node, kind: str) -> Secret | None:
        if variable in self._context.variables:
            return Secret(self._context.variables[variable])
        if self._context.check_secrets:
            self._faults.add(
                place_of(node, ("environment",)),
                f"the variable {variable} of a {kind} is not set",
                f"export {variable}=…, or write it into .env",
            )
        return None

    def _check_name(self, rule: NameRule, name: str, place: Place) -> None:
        if not rule.allows(name):
            self._faults.add(
                place,
                f"{name!r} cannot be a name",
                f"A name has {rule.words}.",
                once=True,
            )

    def _check_external(
        self, entry: Entry[schema_resources.Network] | Entry[schema_resources.Volume] | None
    ) -> None:
        if entry is None or not entry.model.external:
            return
        if entry.model.labels:
            self._faults.add(
                place_of(entry.node, ("labels",)),
                "what is external gets no labels here",
                "Leave out labels, or external.",
                once=True,
            )
        if isinstance(entry.model, schema_resources.Network) and entry.model.internal:
            self._faults.add(
                place_of(entry.node, ("internal",)),
                "whether an external network is internal is said where it is made",
                "Leave out internal, or external.",
                once=True,
            )
        if isinstance(entry.model, schema_resources.Network) and entry.model.ipam and entry.model.ipam.config:
            self._faults.add(
                place_of(entry.node, ("ipam",)),
                "the subnets of an external network are said where it is made",
                "Leave out ipam, or external.",
                once=True,
            )

    def _unknown(self, section: str, key: str, place: Place) -> None:
        named: Mapping[str, frozenset[str]] = self._document.named
        if key not in named[section]:
            blame_unknown(self._faults, section, key, named[section], place)


def clause(sentence: str) -> str:
    """Return a sentence as it stands behind a colon."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def blame_unknown(faults: Faults, section: str, key: str, named: frozenset[str], place: Place) -> None:
    """Say that a section has no such name, and which it may be."""
    similar = nearest(key, sorted(named))
    hint = f"Did you mean {similar!r}?" if similar else f"Write {key}: below {section}: at the top level."
    faults.add(place, f"there is no {section[:-1]} {key!r}", hint, once=True)
