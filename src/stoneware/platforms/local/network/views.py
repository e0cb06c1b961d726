"""Views: what machines on the same networks see in DNS.

Machines reach each other, and know each other's names, iff they share a network. For each set of networks
that attached machines are on there is a *view*: a chain of the bridge's rules, and a small DNS server on a
port of its own, to which the router sends the questions of the view's machines. Its directory is the record:

    /run/stoneware/STORE/views/KEY/view.json   {"networks", "port", "sealed"}; made last, removed first
    /run/stoneware/STORE/views/KEY/hosts/ID    address and names of a machine that shares a network with it
    /run/stoneware/STORE/views/KEY/zones       the domains that its DNS server asks nobody about
    /run/stoneware/STORE/networks/ID           {"networks": […], "names": […]} of a machine on networks
    /run/stoneware/STORE/zones/KEY.json        names besides those of machines that a network knows: see Zones

A view all of whose networks are internal is *sealed*: its machines reach nothing outside of them, and its
DNS server asks no other.

Machines without networks are in the common view, which the DHCP server serves. A machine that has been
stopped is in none: its names do not resolve, as those of a stopped container do not. To be changed under the
router's lock only.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.files import read_json, write_atomic, write_json

_FIRST_PORT, _PORTS = 10000, 10000  # dnsmasq's own questions go out from other ports: see `dns`


@dataclass(frozen=True, order=True)
class View:
    """A set of networks, sorted, the port its DNS server listens on, and whether there is no way out."""

    networks: tuple[str, ...]
    port: int
    sealed: bool = False

    @property
    def key(self) -> str:
        """What its directory, its helper and its chain are called by."""
        return view_key(self.networks)


def view_key(networks: Iterable[str]) -> str:
    """Return the 12 hexadecimal digits that tell a set of networks from others."""
    return hashlib.sha256("\n".join(sorted(set(networks))).encode()).hexdigest()[:12]


@dataclass(frozen=True, order=True)
class Member:
    """A machine on networks: its id, its address, its networks (sorted) and its names."""

    id: str
    ip: str
    networks: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def line(self) -> str:
        """Its line in a file of hosts."""
        return f"{self.ip} {' '.join(self.names)}\n"


@dataclass(frozen=True)
class Zones:
    """What a network knows besides its machines: addresses with their names, and domains that are its own.

    Of a domain of its own it knows all names: nobody else is asked for one.
    """

    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domains: tuple[str, ...] = ()

    @property
    def hosts(self) -> str:
        """Return the lines of a file of hosts."""
        return "".join(f"{address} {' '.join(names)}\n" for address, names in self.addresses.items())

    @property
    def servers(self) -> str:
        """Return the lines that keep questions for its domains from other servers."""
        return "".join(f"server=/{domain}/\n" for domain in self.domains)


@dataclass(frozen=True)
class Views:
    """The views of a router, by its runtime directory."""

    directory: Path

    @property
    def _views(self) -> Path:
        return self.directory / "views"

    def hosts(self, key: str) -> Path:
        """Return the directory that a view's DNS server watches."""
        return self._views / key / "hosts"

    def servers(self, key: str) -> Path:
        """Return the file with the domains that a view's DNS server asks nobody about."""
        return self._views / key / "zones"

    def _zones(self, network: str) -> Path:
        return self.directory / "zones" / f"{view_key([network])}.json"

    def name(self, network: str, zones: Zones) -> list[View]:
        """Let the machines on a network know these names besides; return the views whose servers to tell."""
        path = self._zones(network)
        if zones == Zones():
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"addresses": zones.addresses, "domains": zones.domains})
        found = [view for view in self.all() if network in view.networks]
        for view in found:
            self._show_zones(view)
        return found

    def _show_zones(self, view: View) -> None:
        said = {network: self._known(network) for network in view.networks}
        for network, zones in said.items():
            path = self.hosts(view.key) / _zone_name(network)
            if zones.addresses:
                _put(path, zones.hosts)
            else:
                path.unlink(missing_ok=True)
        _put(self.servers(view.key), "".join(zones.servers for zones in said.values()))

    def _known(self, network: str) -> Zones:
        try:
            document: dict[str, Any] = read_json(self._zones(network)) or {}
            addresses = {str(ip): tuple(names) for ip, names in document.get("addresses", {}).items()}
            return Zones(addresses, tuple(document.get("domains", ())))
        except (ValueError, TypeError, AttributeError):
            return Zones()

    def all(self) -> list[View]:
        """Return the views there are."""
        return [view for view in map(_read_view, sorted(self._views.glob("*/view.json"))) if view is not None]

    def find(self, networks: tuple[str, ...]) -> View | None:
        """Return the view of a set of networks, or None."""
        return _read_view(self._views / view_key(networks) / "view.json")

    def make(self, networks: tuple[str, ...], members: Iterable[Member], *, sealed: bool = False) -> View:
        """Return the view of a set of networks with these hosts in it, made where there is none.

        The server of a view that was not `sealed` before, or was, is to be started again.
        """
        known = self.find(networks)
        view = View(networks, known.port if known else self._free_port(view_key(networks)), sealed)
        hosts = self.hosts(view.key)
        hosts.mkdir(parents=True, exist_ok=True)
        for path in (self._views, hosts.parent, hosts):
            path.chmod(0o755)
        seen = {member.id: member.line for member in members if _share(view, member)}
        zones = set(map(_zone_name, networks))
        # What a killed command has left, or machines that are on other networks by now.
        for path in hosts.iterdir():
            if path.name not in seen and path.name not in zones:
                path.unlink()
        for id, line in seen.items():
            _put(hosts / id, line)
        self._show_zones(view)
        document = {"networks": list(networks), "port": view.port, "sealed": sealed}
        # Last: a view without it is one whose making was killed, and is made again.
        write_json(hosts.parent / "view.json", document)
        return view

    def _free_port(self, key: str) -> int:
        taken = {view.port for view in self.all()}
        # From its key, so that a view that is made again mostly has the port it had, and no rule changes.
        first = int(key, 16)
        ports = (_FIRST_PORT + (first + step) % _PORTS for step in range(_PORTS))
        return next(port for port in ports if port not in taken)

    def show(self, member: Member) -> None:
        """Put a machine into the views that share a network with it; their servers see it by themselves."""
        for view in self.all():
            if _share(view, member):
                _put(self.hosts(view.key) / member.id, member.line)

    def hide(self, id: str) -> list[View]:
        """Take a machine out of all views and return those that had it; their servers are to be told."""
        found = []
        for view in self.all():
            path = self.hosts(view.key) / id
            if path.exists():
                path.unlink()
                found.append(view)
        return found

    def forget(self, key: str) -> None:
        """Remove a view's directory; its server has ended."""
        # First, for the same reason.
        (self._views / key / "view.json").unlink(missing_ok=True)
        shutil.rmtree(self._views / key, ignore_errors=True)

    def unused(self, used: set[tuple[str, ...]]) -> Iterator[str]:
        """Yield the keys of the directories of other views than these, incomplete ones too."""
        keys = {view_key(networks) for networks in used}
        for path in sorted(self._views.glob("*")):
            if path.name not in keys:
                yield path.name


def _zone_name(network: str) -> str:
    # No machine's: ids have no dash.
    return f"zones-{view_key([network])}"


def _share(view: View, member: Member) -> bool:
    return not set(view.networks).isdisjoint(member.networks)


def _put(path: Path, text: str) -> None:
    # The DNS server watches the directory, and reads again what is written, changed or not.
    if not path.exists() or path.read_text() != text:
        write_atomic(path, text)


def _read_view(path: Path) -> View | None:
    try:
        document: dict[str, Any] = read_json(path) or {}
        return View(tuple(document["networks"]), int(document["port"]), document.get("sealed") is True)
    except (ValueError, KeyError, TypeError):
        return None
